"""The victims: accuracy, offers, restored models, equality with scikit-learn, odd shapes, missing classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC, LinearSVC

from sparring.cell import Selection
from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.model import Model, NotOffered
from sparring.plugin import Act, VictimSpec
from sparring.subset import SubsetParams
from sparring.threat import Access
from sparring.training import Optimiser, Recipe
from sparring_datasets.digits import Digits
from sparring_victims import (
    autoencoder_softmax,
    cnn,
    densenet,
    feature_svm,
    fed_avg,
    linear_svm,
    logistic,
    maxout,
    mlp,
    random_forest,
    rbf_svm,
    resnet,
    sparring_victims,
    vgg,
)

SPECS = {spec.name: spec for spec in sparring_victims()}
NETWORKS = ("mlp", "cnn", "vgg", "resnet", "densenet", "logistic", "maxout", "autoencoder-softmax", "fed-avg")
QUICK: dict[str, Any] = {
    "mlp": mlp.Params(hidden=(8,), epochs=2),
    "cnn": cnn.Params(channels=(2, 4, 4), epochs=2, batch_norm=True),
    "vgg": vgg.Params(stages=(2, 1), width=4, epochs=2, batch_norm=True),
    "resnet": resnet.Params(stages=(1, 1), width=4, epochs=2),
    "densenet": densenet.Params(stages=(2, 1), growth=2, epochs=2),
    "feature-svm": feature_svm.Params(stages=(1, 1), width=4, epochs=2),
    "logistic": logistic.Params(epochs=2),
    "maxout": maxout.Params(hidden=(8, 6), pieces=3, epochs=2),
    "autoencoder-softmax": autoencoder_softmax.Params(nodes=8, autoencoder_epochs=2, epochs=2),
    "linear-svm": linear_svm.Params(),
    "rbf-svm": rbf_svm.Params(),
    "random-forest": random_forest.Params(trees=5),
    "fed-avg": fed_avg.Params(network=Selection("mlp", mlp.Params(hidden=(8,), epochs=2)), clients=2, rounds=1),
}
DEFAULTS: dict[str, Any] = {"fed-avg": fed_avg.Params(network=Selection("mlp", mlp.Params(epochs=2)))}
"""Where a reference to another plugin has to be resolved."""
ASK = {
    Access.DECISIONS: lambda model, x: model.predict(x),
    Access.SCORES: lambda model, x: model.scores(x),
    Access.PROBABILITIES: lambda model, x: model.probabilities(x),
    Access.GRADIENTS: lambda model, x: model.gradient(x, torch.zeros(len(x), dtype=torch.int64)),
    Access.FEATURES: lambda model, x: model.features(x),
}


def context(seed: int = 0) -> Context:
    return Context(seed=seed, device="cpu", scratch=Path("/nonexistent"))


@pytest.fixture(scope="module")
def digits() -> tuple[ArrayDataset, ArrayDataset]:
    return Digits(SubsetParams()).load(context())


def tensor(data: ArrayDataset) -> torch.Tensor:
    return torch.from_numpy(data.x.copy())


def blobs(shape: tuple[int, int, int], classes: int, count: int = 60, seed: int = 0) -> ArrayDataset:
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = rng.uniform(0, 1, (count, *shape)).astype(np.float32)
    x[:, 0, 0, 0] = y / classes
    return ArrayDataset(x, y.astype(np.int64), tuple(f"class {k}" for k in range(classes)))


def fitted(spec: VictimSpec, train: ArrayDataset, params: Any = None, seed: int = 0) -> Model:
    """Frozen features are learnt on the training set, too."""
    victim = spec.load(spec.params() if params is None else params)
    if Act.PRETRAIN in spec.acts:
        features = victim.pretrain(train, victim.recipe(), context(seed))
        model: Model = victim.fit_head(features, train, context(seed))
    elif Act.FIT_ROUNDS in spec.acts:
        clients = [train.rows(part) for part in np.array_split(np.arange(len(train)), victim.clients)]
        model = victim.fit_rounds(clients, victim.recipe(), lambda update, *_: update, context(seed))
    else:
        model = victim.fit(train, victim.recipe(), context(seed))
    return model


def accuracy(model: Model, data: ArrayDataset) -> float:
    return float((model.predict(tensor(data)).numpy() == data.y).mean())


@pytest.mark.parametrize("name", SPECS)
def test_defaults_learn_the_digits(name: str, digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    expected = {"fed-avg": 0.9, "autoencoder-softmax": 0.9, "logistic": 0.94, "linear-svm": 0.93, "rbf-svm": 0.98}
    least = expected.get(name, 0.95)
    assert accuracy(fitted(SPECS[name], digits[0], DEFAULTS.get(name)), digits[1]) > least


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 7, 5), (3, 5, 7)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", SPECS)
def test_any_shape_and_what_is_declared_is_what_is_offered(
    name: str, shape: tuple[int, int, int], classes: int
) -> None:
    spec = SPECS[name]
    model = fitted(spec, blobs(shape, classes), QUICK[name])
    x = tensor(blobs(shape, classes, count=7, seed=1))
    assert model.offers == spec.offers - {Access.RECIPE}
    for access, ask in ASK.items():
        if access not in model.offers:
            with pytest.raises(NotOffered):
                ask(model, x)
            continue
        answer = ask(model, x)
        assert len(answer) == 7
        assert bool(torch.isfinite(answer.float()).all())
        torch.testing.assert_close(ask(model, x[:1]), answer[:1], rtol=1e-4, atol=1e-5)  # a batch of one
    assert model.scores(x).shape == (7, classes)
    assert model.predict(x[:0]).shape == (0,)
    if Access.PROBABILITIES in model.offers:
        torch.testing.assert_close(model.probabilities(x).sum(1), torch.ones(7))


@pytest.mark.parametrize("name", SPECS)
def test_a_restored_model_answers_with_the_same_bytes(name: str) -> None:
    spec = SPECS[name]
    train, x = blobs((1, 7, 5), 4), tensor(blobs((1, 7, 5), 4, seed=1))
    first = fitted(spec, train, QUICK[name])
    state = {key: np.array(array) for key, array in first.state().items()}
    again = spec.load(QUICK[name]).restore(state, context(seed=9))
    assert torch.equal(again.scores(x), first.scores(x))
    assert torch.equal(again.predict(x), first.predict(x))
    assert {k: v.tobytes() for k, v in again.state().items()} == {k: v.tobytes() for k, v in state.items()}
    if Access.GRADIENTS in first.offers:
        y = torch.zeros(len(x), dtype=torch.int64)
        assert torch.equal(again.gradient(x, y), first.gradient(x, y))


@pytest.mark.parametrize("name", SPECS)
def test_one_seed_gives_the_same_bytes(name: str) -> None:
    one, two = (fitted(SPECS[name], blobs((1, 7, 5), 3), QUICK[name], seed=2).state() for _ in range(2))
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in two.items()}


@pytest.mark.parametrize("name", ["mlp", "cnn", "random-forest"])
def test_another_seed_gives_another_model(name: str) -> None:
    one, two = (fitted(SPECS[name], blobs((1, 7, 5), 3), QUICK[name], seed=s).state() for s in (1, 2))
    assert {k: v.tobytes() for k, v in one.items()} != {k: v.tobytes() for k, v in two.items()}


@pytest.mark.parametrize("left", [[1], [0, 3], [0, 2, 4]])
@pytest.mark.parametrize("name", SPECS)
def test_a_class_missing_from_the_training_set_is_never_predicted(name: str, left: list[int]) -> None:
    whole = blobs((1, 5, 5), 5, count=100)
    model = fitted(SPECS[name], whole.rows(np.isin(whole.y, left)), QUICK[name])
    x = tensor(blobs((1, 5, 5), 5, seed=3))
    assert model.scores(x).shape == (60, 5)
    assert bool(torch.isfinite(model.scores(x)).all())
    if name not in NETWORKS:  # an untrained output of a network may still win
        assert set(model.predict(x).tolist()) <= set(left)


@pytest.mark.parametrize("classes", [(), (3, 8), (1, 7, 9)])
def test_linear_svm_equals_scikit_learn(classes: tuple[int, ...]) -> None:
    train, test = Digits(SubsetParams(classes=classes)).load(context())
    theirs = LinearSVC(C=0.5, random_state=0).fit(train.x.reshape(len(train), -1), train.y)
    ours = fitted(SPECS["linear-svm"], train, linear_svm.Params(c=0.5))
    flat = test.x.reshape(len(test), -1)
    np.testing.assert_array_equal(ours.predict(tensor(test)).numpy(), theirs.predict(flat))
    scores, expected = ours.scores(tensor(test)).numpy(), theirs.decision_function(flat)
    np.testing.assert_allclose(scores[:, 1] if len(classes) == 2 else scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [None, 0.01])
@pytest.mark.parametrize("classes", [(), (3, 8), (1, 7, 9)])
def test_rbf_svm_equals_scikit_learn(classes: tuple[int, ...], gamma: float | None) -> None:
    train, test = Digits(SubsetParams(classes=classes)).load(context())
    flat = test.x.reshape(len(test), -1)
    theirs = SVC(C=2.0, gamma="scale" if gamma is None else gamma, break_ties=True)
    theirs.fit(train.x.reshape(len(train), -1), train.y)
    ours = fitted(SPECS["rbf-svm"], train, rbf_svm.Params(c=2.0, gamma=gamma))
    np.testing.assert_array_equal(ours.predict(tensor(test)).numpy(), theirs.predict(flat))
    scores, expected = ours.scores(tensor(test)).numpy(), theirs.decision_function(flat)
    np.testing.assert_allclose(scores[:, 1] if len(classes) == 2 else scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("trees", "depth"), [(10, None), (30, 4), (1, 1)])
@pytest.mark.parametrize("classes", [(), (3, 8)])
def test_random_forest_equals_scikit_learn(classes: tuple[int, ...], trees: int, depth: int | None) -> None:
    train, test = Digits(SubsetParams(classes=classes)).load(context())
    flat = test.x.reshape(len(test), -1)
    theirs = RandomForestClassifier(trees, max_depth=depth, random_state=0).fit(
        train.x.reshape(len(train), -1), train.y
    )
    ours = fitted(SPECS["random-forest"], train, random_forest.Params(trees=trees, max_depth=depth))
    np.testing.assert_array_equal(
        ours.probabilities(tensor(test)).numpy(), theirs.predict_proba(flat).astype(np.float32)
    )
    np.testing.assert_array_equal(ours.predict(tensor(test)).numpy(), theirs.predict(flat))


def test_linear_svm_gradients_are_exact() -> None:
    model = fitted(SPECS["linear-svm"], blobs((1, 4, 4), 3))
    x = tensor(blobs((1, 4, 4), 3, count=2, seed=1)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.logits(x)[:, 2].sum(), x)
    np.testing.assert_allclose(gradient[0].flatten().numpy(), model.state()["weight"][2], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "fed-avg"])
def test_networks_follow_the_recipe_they_are_given(name: str, digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    victim = SPECS[name].load(SPECS[name].params(epochs=3, weight_decay=0.1, optimiser=Optimiser.SGD))
    assert victim.recipe() == Recipe(
        epochs=3,
        weight_decay=0.1,
        optimiser=Optimiser.SGD,
        batch_size=victim.params.batch_size,
        learning_rate=victim.params.learning_rate,
        schedule=victim.params.schedule,
    )
    untrained = victim.fit(digits[0], Recipe(epochs=1, learning_rate=1e-9), context())
    assert accuracy(untrained, digits[1]) < 0.4


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("pooling", cnn.Pooling)
@pytest.mark.parametrize("pool_after", cnn.PoolAfter)
def test_cnn_variants_have_the_features_they_should(
    pooling: cnn.Pooling, pool_after: cnn.PoolAfter, batch_norm: bool
) -> None:
    params = cnn.Params(channels=(2, 3), pooling=pooling, pool_after=pool_after, batch_norm=batch_norm, fc=0, epochs=1)
    model = fitted(SPECS["cnn"], blobs((1, 8, 6), 2), params)
    pools = 0 if pooling is cnn.Pooling.NONE else 1 if pool_after is cnn.PoolAfter.LAST else 2
    expected = 3 * (8 // 2**pools) * (6 // 2**pools)
    assert model.features(tensor(blobs((1, 8, 6), 2))).shape == (60, expected)


def test_a_kernel_that_does_not_fit_is_explained() -> None:
    params = cnn.Params(channels=(4, 4), kernel=5, padding=cnn.Padding.VALID)
    with pytest.raises(ValueError, match="convolution 2 sees 2 x 2 images, too small for a kernel of side 5"):
        fitted(SPECS["cnn"], blobs((1, 8, 8), 2), params)


@pytest.mark.parametrize("name", SPECS)
def test_an_empty_training_set_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="training set is empty"):
        fitted(SPECS[name], blobs((1, 4, 4), 2).rows([]), QUICK[name])
