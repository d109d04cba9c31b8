"""VGG, ResNet and DenseNet against torchvision's, and batch normalisation by the statistics of the test batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models
from torch import nn

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.model import Model
from sparring_victims import cnn, densenet, feature_svm, resnet, vgg
from sparring_victims.backbones import densenet_body, resnet_body, vgg_body
from sparring_victims.batch_norm_params import Statistics
from sparring_victims.batch_statistics import BatchStatisticsNorm


def weights(network: nn.Module, *, without: tuple[str, ...] = ()) -> list[tuple[int, ...]]:
    """Shapes of all parameters, in order."""
    return [tuple(p.shape) for name, p in network.named_parameters() if not name.startswith(without)]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg13_is_torchvisions(batch_norm: bool) -> None:
    theirs = torchvision.models.vgg13_bn() if batch_norm else torchvision.models.vgg13()
    body, width = vgg_body((3, 32, 32), (2, 2, 2, 2, 2), 64, batch_norm=batch_norm)
    assert width == 512
    assert weights(body) == weights(theirs.features)
    for own, other in zip(body.parameters(), theirs.features.parameters(), strict=True):
        own.data.copy_(other.data)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(body.eval()(x), theirs.features.eval()(x).flatten(1))


def test_resnet18_is_torchvisions_behind_the_first_layers() -> None:
    body, width = resnet_body((3, 32, 32), (2, 2, 2, 2), 64)
    theirs = torchvision.models.resnet18()
    assert width == theirs.fc.in_features
    assert weights(body)[1:] == weights(theirs, without=("conv1", "fc"))
    assert weights(body)[0] == (64, 3, 3, 3)


def test_densenet121_is_torchvisions_behind_the_first_layer() -> None:
    body, width = densenet_body((3, 32, 32), (6, 12, 24, 16), 32)
    theirs = torchvision.models.densenet121()
    assert width == theirs.classifier.in_features
    assert weights(body)[1:] == weights(theirs.features)[1:]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9), (1, 28, 28), (3, 32, 32)])
def test_no_image_is_too_small(shape: tuple[int, int, int]) -> None:
    x = torch.rand(3, *shape)
    for body, width in (
        vgg_body(shape, (1, 1, 1, 1, 1, 1), 2, batch_norm=True),
        resnet_body(shape, (1, 1, 1, 1), 2),
        densenet_body(shape, (1, 1, 1, 1), 2),
    ):
        assert body.eval()(x).shape == (3, width)


def images(count: int = 64) -> ArrayDataset:
    rng = np.random.default_rng(0)
    y = np.arange(count) % 2
    x = rng.uniform(0, 0.5, (count, 1, 8, 8)) + 0.4 * y[:, None, None, None]
    return ArrayDataset(x.astype(np.float32), y.astype(np.int64), ("dark", "bright"))


def fitted(victim: Any, train: ArrayDataset) -> Model:
    ctx = Context(seed=0, device="cpu", scratch=Path("/nonexistent"))
    if isinstance(victim, feature_svm.FeatureSvm):
        return victim.fit_head(victim.pretrain(train, victim.recipe(), ctx), train, ctx)
    model: Model = victim.fit(train, victim.recipe(), ctx)
    return model


BATCH: dict[str, Any] = {"epochs": 2, "statistics": Statistics.BATCH}
BY_BATCH = {
    "cnn": cnn.Cnn(cnn.Params(channels=(4,), batch_norm=True, **BATCH)),
    "vgg": vgg.Vgg(vgg.Params(stages=(1, 1), width=4, batch_norm=True, **BATCH)),
    "resnet": resnet.ResNet(resnet.Params(stages=(1, 1), width=4, **BATCH)),
    "densenet": densenet.DenseNet(densenet.Params(stages=(1, 1), growth=4, **BATCH)),
    "feature-svm": feature_svm.FeatureSvm(
        feature_svm.Params(backbone=feature_svm.Backbone.RESNET, stages=(1, 1), width=4, **BATCH)
    ),
}


@pytest.mark.parametrize("name", BY_BATCH)
def test_with_statistics_of_the_batch_an_answer_depends_on_the_batch(name: str) -> None:
    train = images()
    model, x = fitted(BY_BATCH[name], train), torch.from_numpy(train.x.copy())
    bright = x[train.y == 1]
    assert not torch.allclose(model.scores(bright), model.scores(x)[train.y == 1], atol=1e-3)
    assert torch.equal(model.scores(x), model.scores(x)), "asking changes nothing"
    restored = BY_BATCH[name].restore(
        {k: np.array(v) for k, v in model.state().items()}, Context(seed=1, device="cpu", scratch=Path("/nonexistent"))
    )
    assert torch.equal(restored.scores(x), model.scores(x))


def test_batch_statistics_are_those_of_training_mode() -> None:
    norm, reference = BatchStatisticsNorm(3).eval(), nn.BatchNorm2d(3).train()
    x = torch.randn(5, 3, 4, 4) * 3 + 1
    torch.testing.assert_close(norm(x), reference(x))
    assert norm.num_batches_tracked == 0, "prediction leaves the running averages alone"


def test_a_lone_value_is_normalised_by_the_running_averages() -> None:
    norm, reference = BatchStatisticsNorm(3).eval(), nn.BatchNorm2d(3).eval()
    x = torch.randn(1, 3, 1, 1)
    assert torch.equal(norm(x), reference(x))


@pytest.mark.parametrize("params", [cnn.Params, vgg.Params, feature_svm.Params])
def test_statistics_need_batch_normalisation(params: Any) -> None:
    with pytest.raises(ValueError, match="statistics=batch says nothing without batch_norm"):
        params(statistics=Statistics.BATCH)


def test_features_of_another_shape_are_refused() -> None:
    victim = feature_svm.FeatureSvm(feature_svm.Params(stages=(1,), width=2, epochs=1))
    ctx = Context(seed=0, device="cpu", scratch=Path("/nonexistent"))
    features = victim.pretrain(images(), victim.recipe(), ctx)
    other = ArrayDataset(np.zeros((4, 3, 8, 8), dtype=np.float32), np.arange(4) % 2, ("a", "b"))
    with pytest.raises(ValueError, match=r"learnt on images of 1 x 8 x 8 .* have 3 x 8 x 8"):
        victim.fit_head(features, other, ctx)


def test_the_head_is_scikit_learns_and_the_features_stay() -> None:
    from sklearn.svm import LinearSVC

    train = images()
    victim = feature_svm.FeatureSvm(feature_svm.Params(stages=(1, 1), width=4, epochs=1, c=0.3))
    ctx = Context(seed=0, device="cpu", scratch=Path("/nonexistent"))
    features, x = victim.pretrain(train, victim.recipe(), ctx), torch.from_numpy(train.x.copy())
    model = victim.fit_head(features, train, ctx)
    assert torch.equal(model.features(x), features.features(x))
    found = features.features(x).numpy()
    theirs = LinearSVC(C=0.3, dual=False).fit(found, train.y)
    np.testing.assert_allclose(model.scores(x)[:, 1].numpy(), theirs.decision_function(found), rtol=1e-4, atol=1e-4)
