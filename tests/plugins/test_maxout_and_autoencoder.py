"""`maxout` and `autoencoder-softmax`: what their papers say they are, beside what every victim is tested for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, kl_divergence

from sparring.contracts import Context, DeadlineExceeded
from sparring.data import ArrayDataset
from sparring.model import Model
from sparring.subset import SubsetParams
from sparring.training import InnerAdversary, Recipe
from sparring.training_loop import TrainingDiverged
from sparring_datasets.digits import Digits
from sparring_defences.interval_bounds import IntervalBounds
from sparring_defences.interval_bounds import Params as BoundsParams
from sparring_victims.autoencoder_softmax import AutoencoderSoftmax
from sparring_victims.autoencoder_softmax import Params as AutoencoderParams
from sparring_victims.maxout import Maxout
from sparring_victims.maxout import Params as MaxoutParams
from sparring_victims.network_victim import NetworkVictim
from sparring_victims.sparse_autoencoder import divergence


def context(seed: int = 0, deadline: float | None = None) -> Context:
    return Context(seed=seed, device="cpu", scratch=Path("/nonexistent"), deadline=deadline)


@pytest.fixture(scope="module")
def digits() -> tuple[ArrayDataset, ArrayDataset]:
    return Digits(SubsetParams()).load(context())


def fitted(victim: NetworkVictim, train: ArrayDataset, recipe: Recipe | None = None) -> Model:
    return victim.fit(train, victim.recipe() if recipe is None else recipe, context())


def tensor(data: ArrayDataset) -> torch.Tensor:
    return torch.from_numpy(data.x.copy())


def accuracy(model: Model, data: ArrayDataset) -> float:
    return float((model.predict(tensor(data)).numpy() == data.y).mean())


# maxout


def test_a_unit_is_the_largest_of_its_pieces(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    """Goodfellow et al. 2013, section 2: h_i = max over j of x W_ij + b_ij, and nothing is dropped afterwards."""
    model = fitted(Maxout(MaxoutParams(hidden=(6, 5), pieces=3, epochs=1)), digits[0])
    h = tensor(digits[1]).flatten(1)
    for linear in [m for m in model.weights().modules() if isinstance(m, nn.Linear)][:2]:
        units = len(linear.bias) // 3
        pieces = torch.stack([linear(h)[:, 3 * i : 3 * i + 3] for i in range(units)], dim=1)
        h = pieces.amax(dim=2)
    torch.testing.assert_close(model.features(tensor(digits[1])), h)


@pytest.mark.parametrize("dropped", [{"input_dropout": 0.9}, {"hidden_dropout": 0.9}])
def test_dropout_is_for_training_alone(digits: tuple[ArrayDataset, ArrayDataset], dropped: dict[str, float]) -> None:
    """It makes the training images harder than they are, and leaves no trace in what the model answers."""
    train, x = digits[0], tensor(digits[1])[:50]
    y = torch.from_numpy(digits[1].y[:50].copy())
    params = {"hidden": (32,), "pieces": 2, "epochs": 3, "input_dropout": 0.0, "hidden_dropout": 0.0}
    with_dropout, ctx = Maxout(MaxoutParams(**params | dropped)), context()
    model = with_dropout.fit(train, with_dropout.recipe(), ctx)
    seen_in_training = ctx.curves["training error"][-1][1]
    assert 1 - accuracy(model, train) < seen_in_training - 0.1
    without = Maxout(MaxoutParams(**params)).restore(model.state(), context())
    for answer in (lambda m: m.scores(x), lambda m: m.gradient(x, y), lambda m: m.features(x)):
        assert torch.equal(answer(model), answer(model))
        assert torch.equal(answer(model), answer(without))


def test_an_adversarial_recipe_is_followed(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    """Goodfellow et al. 2015, section 6, in small: the fast gradient sign method loses most of its power."""
    victim = Maxout(MaxoutParams(hidden=(64, 64), epochs=30))
    adversary = InnerAdversary(epsilon=0.25, clean_weight=0.5)
    hardened = Recipe(**{**_fields(victim.recipe()), "adversary": adversary})
    x, y = tensor(digits[1]), torch.from_numpy(digits[1].y.copy())
    right = []
    for recipe in (victim.recipe(), hardened):
        model = fitted(victim, digits[0], recipe)
        moved = (x + 0.25 * model.gradient(x, y).sign()).clamp(0, 1)
        right.append(float((model.predict(moved) == y).float().mean()))
    assert right[1] > right[0] + 0.2


def _fields(recipe: Recipe) -> dict[str, object]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}


def test_interval_bounds_know_maxout(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    """A maximum grows with each of its arguments."""
    model = fitted(Maxout(MaxoutParams(hidden=(16,), pieces=2, epochs=3)), digits[0])
    x = tensor(digits[1])[:40]
    certificate = IntervalBounds(BoundsParams(halvings=8)).certify(model, x, context())
    assert (certificate.radius > 0).mean() > 0.5
    rng = torch.Generator().manual_seed(0)
    far = torch.from_numpy(certificate.radius).float()[:, None, None, None]
    for _ in range(50):
        moved = (x + far * (torch.rand(x.shape, generator=rng) * 2 - 1).sign()).clamp(0, 1)
        certain = torch.from_numpy(certificate.radius > 0)
        assert torch.equal(model.predict(moved)[certain], torch.from_numpy(certificate.prediction)[certain])


# autoencoder-softmax


def test_the_hidden_layer_is_as_sparse_as_asked(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    """Ng 2011, section 3: with the penalty every unit's mean activation is near the target; without, it is not."""
    off = {}
    for weight in (0.0, 3.0):
        params = AutoencoderParams(nodes=50, sparsity=0.1, sparsity_weight=weight, autoencoder_epochs=60, epochs=1)
        means = fitted(AutoencoderSoftmax(params), digits[0]).features(tensor(digits[0])).mean(dim=0)
        off[weight] = float((means - 0.1).abs().mean())
    assert off[3.0] < 0.02
    assert off[0.0] > 5 * off[3.0]


def test_the_divergence_is_that_of_coins() -> None:
    means = torch.tensor([0.02, 0.1, 0.5, 0.93], dtype=torch.float64)
    expected = kl_divergence(Bernoulli(torch.full_like(means, 0.1)), Bernoulli(means)).sum()
    torch.testing.assert_close(divergence(means, 0.1), expected)
    assert bool(torch.isfinite(divergence(torch.tensor([0.0, 1.0]), 0.1)))


def test_the_encoder_sees_no_labels_and_is_not_tuned(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    victim = AutoencoderSoftmax(AutoencoderParams(nodes=20, autoencoder_epochs=2, epochs=2))
    recipe = victim.recipe()
    hardened = Recipe(**{**_fields(recipe), "adversary": InnerAdversary(epsilon=0.1), "weight_decay": 0.1})
    mirrored = digits[0].relabelled(9 - digits[0].y)
    states = [fitted(victim, *given).state() for given in ((digits[0],), (mirrored,), (digits[0], hardened))]
    encoders = [{k: v.tobytes() for k, v in state.items() if k.startswith("body")} for state in states]
    heads = {state["head.weight"].tobytes() for state in states}
    assert encoders[0] == encoders[1] == encoders[2]
    assert len(heads) == 3


def test_what_the_encoder_learns_is_better_than_what_it_began_with(
    digits: tuple[ArrayDataset, ArrayDataset],
) -> None:
    error = {}
    for epochs in (0, 60):
        params = AutoencoderParams(nodes=20, autoencoder_epochs=epochs, autoencoder_batch=50, epochs=20)
        error[epochs] = 1 - accuracy(fitted(AutoencoderSoftmax(params), digits[0]), digits[1])
    assert error[60] < 0.5 * error[0]


def test_a_time_limit_stops_the_autoencoder(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    victim = AutoencoderSoftmax(AutoencoderParams(nodes=20))
    with pytest.raises(DeadlineExceeded, match="stopped at"):
        victim.fit(digits[0], victim.recipe(), context(deadline=0.0))


def test_an_autoencoder_that_diverges_says_so(digits: tuple[ArrayDataset, ArrayDataset]) -> None:
    victim = AutoencoderSoftmax(AutoencoderParams(nodes=20, autoencoder_rate=1e30))
    with pytest.raises(TrainingDiverged, match="the autoencoder's loss is not finite in epoch"):
        victim.fit(digits[0], victim.recipe(), context())
