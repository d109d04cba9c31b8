"""Poison frogs and adversarial poisoning: bounds, labels, whose features they meet, and the readings of the axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Aux
from sparring.data import ArrayDataset, Poisoned, Targets, distortion
from sparring.drawing import draw_targets
from sparring.model import Model
from sparring.threat import ThreatModel
from sparring_attacks.adversarial_poisoning import AdversarialPoisoning, Objective, Proxy, Sign
from sparring_attacks.adversarial_poisoning import Params as AdversarialParams
from sparring_attacks.feature_walk import Method
from sparring_attacks.linear_proxy import fitted_proxy
from sparring_attacks.poison_frog import Choice, Distance, PoisonFrog
from sparring_attacks.poison_frog import Params as FrogParams

EPSILON = 0.1


@pytest.fixture(scope="module")
def train(digits: ArrayDataset) -> ArrayDataset:
    return digits.rows(range(400))


@pytest.fixture(scope="module")
def targets(digits: ArrayDataset) -> Targets:
    return draw_targets(digits.rows(range(1500, 1797)), 5, seed=0)


def frogs(context: Any, features: Model, train: ArrayDataset, targets: Targets, **params: Any) -> list[Poisoned]:
    threat = ThreatModel(epsilon=EPSILON, poison_fraction=params.pop("fraction", 0.02))
    attack = PoisonFrog(FrogParams(**params))
    return list(attack.poison(train, threat, targets, Aux(features=features), context(1)))


def features(model: Model, x: np.ndarray[Any, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model.features(torch.from_numpy(np.array(x)))


def gap(model: Model, x: np.ndarray[Any, Any], target: np.ndarray[Any, Any], distance: Distance) -> torch.Tensor:
    """(N,) between the features of images and those of one target image."""
    found, wanted = features(model, x), features(model, target[None])
    match distance:
        case Distance.L2:
            return (found - wanted).square().sum(1)
        case Distance.L1:
            return (found - wanted).abs().sum(1)
        case Distance.COSINE:
            return 1 - F.cosine_similarity(found, wanted, dim=1)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("distance", Distance)
def test_every_frog_is_nearer_to_its_target_and_within_the_bound(
    context, victim, train, targets, distance, method
) -> None:
    deltas = frogs(context, victim, train, targets, distance=distance, method=method)
    assert len(deltas) == len(targets)
    for delta, image, goal in zip(deltas, targets.x, targets.goal, strict=True):
        base = train.rows(delta.rows)
        assert len(delta.rows) == 8
        assert (delta.y == goal).all()
        assert (base.y == goal).all()
        assert distortion(base.x, delta.x).linf.max() <= EPSILON
        assert (gap(victim, delta.x, image, distance) < gap(victim, base.x, image, distance)).all()


def test_several_steps_come_nearer_than_one(context, victim, train, targets) -> None:
    one, many = (frogs(context, victim, train, targets, method=method) for method in (Method.FGSM, Method.PGD))
    for few, more, image in zip(one, many, targets.x, strict=True):
        assert (few.rows == more.rows).all()
        assert gap(victim, more.x, image, Distance.L2).sum() < gap(victim, few.x, image, Distance.L2).sum()


@pytest.mark.parametrize(("bases", "fraction", "expected"), [(1, 0.5, 1), (None, 0.02, 8), (30, 0.02, 8), (3, 0.0, 0)])
def test_the_number_of_frogs(context, victim, train, targets, bases, fraction, expected) -> None:
    deltas = frogs(context, victim, train, targets, bases=bases, fraction=fraction, steps=1)
    assert [len(delta.rows) for delta in deltas] == [expected] * len(targets)


def test_the_nearest_images_are_chosen_in_feature_space(context, victim, train, targets) -> None:
    deltas = frogs(context, victim, train, targets, choice=Choice.NEAREST, steps=1)
    for delta, image, goal in zip(deltas, targets.x, targets.goal, strict=True):
        candidates = np.flatnonzero(train.y == goal)
        apart = gap(victim, train.x[candidates], image, Distance.L2)
        assert set(delta.rows) == set(candidates[apart.argsort()[:8].numpy()])


def test_the_batch_a_frog_is_made_in_makes_no_difference(context, victim, train, targets) -> None:
    one, other = (frogs(context, victim, train, targets, batch_size=size, steps=3) for size in (7, 64))
    for a, b in zip(one, other, strict=True):
        assert (a.rows == b.rows).all()
        np.testing.assert_allclose(a.x, b.x, atol=2e-5)


def poisoned(context: Any, model: Model, train: ArrayDataset, **params: Any) -> np.ndarray[Any, Any]:
    threat = ThreatModel(epsilon=EPSILON)
    aux = Aux(features=model, attacker_val=params.pop("attacker_val", None))
    (delta,) = AdversarialPoisoning(AdversarialParams(**params)).poison(train, threat, None, aux, context())
    assert (delta.rows == np.arange(len(train))).all(), "all training images, in order"
    assert (delta.y == train.y).all()
    assert distortion(train.x, delta.x).linf.max() <= EPSILON
    return delta.x


def objective(model: Model, train: ArrayDataset, x: np.ndarray[Any, Any], kind: Objective, proxy: Proxy) -> float:
    """As the paper and the parameters define it, from classifiers fitted here."""
    found, y = features(model, train.x), torch.from_numpy(np.array(train.y))
    clean = fitted_proxy(found, train.y, 10)
    other = clean if proxy is Proxy.CLEAN else fitted_proxy(found, (train.y + 1) % 10, 10)
    moved = features(model, x)
    apart = moved @ (other.weight - clean.weight).T
    match kind:
        case Objective.CROSS_ENTROPY:
            return float(F.cross_entropy(other.margins(moved), y))
        case Objective.PUSH:
            return float(apart[torch.arange(len(y)), y].mean())
        case Objective.NORM:
            return float(apart.norm(dim=1).mean())


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("sign", Sign)
@pytest.mark.parametrize(
    ("kind", "proxy"),
    [
        (Objective.CROSS_ENTROPY, Proxy.CLEAN),
        (Objective.CROSS_ENTROPY, Proxy.SHIFTED_LABELS),
        (Objective.PUSH, Proxy.SHIFTED_LABELS),
        (Objective.NORM, Proxy.SHIFTED_LABELS),
    ],
)
def test_each_reading_moves_its_own_objective(context, victim, train, kind, proxy, sign, method) -> None:
    moved = poisoned(context, victim, train, objective=kind, proxy=proxy, sign=sign, method=method)
    change = objective(victim, train, moved, kind, proxy) - objective(victim, train, train.x, kind, proxy)
    assert change > 0 if sign is Sign.ASCEND else change < 0


def test_the_proxy_may_be_fitted_on_other_rows(context, victim, train, digits) -> None:
    clean = poisoned(context, victim, train)
    other = poisoned(context, victim, train, proxy=Proxy.VALIDATION, attacker_val=digits.rows(range(600, 900)))
    assert (clean != other).any()
    with pytest.raises(ValueError, match=r"set splits\.attacker_val"):
        poisoned(context, victim, train, proxy=Proxy.VALIDATION)


def test_no_axis_leads_from_the_clean_classifier_to_itself() -> None:
    with pytest.raises(ValueError, match="objective=push needs another proxy"):
        AdversarialParams(objective=Objective.PUSH)


@pytest.mark.parametrize("classes", [[0, 1], [4], [0, 2, 5]])
def test_the_proxy_is_scikit_learns(digits: ArrayDataset, classes: list[int]) -> None:
    from sklearn.svm import LinearSVC

    rows = digits.rows(np.isin(digits.y, classes))
    flat = torch.from_numpy(rows.x.reshape(len(rows), -1).copy())
    proxy = fitted_proxy(flat, rows.y, 10)
    assert set(proxy.weight.abs().sum(1).nonzero().flatten().tolist()) == (set(classes) if len(classes) > 1 else set())
    if len(classes) > 1:
        theirs = LinearSVC(dual=False).fit(flat.numpy(), rows.y).predict(flat.numpy())
        answers = proxy.margins(flat)[:, classes].argmax(1).numpy()
        assert (np.array(classes)[answers] == theirs).all()
