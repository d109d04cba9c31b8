"""Wasserstein examples: within the distance, by an exact transport plan; brightness kept; stronger with more of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from sparring.contracts import Aux
from sparring.model import MeteredModel, Model
from sparring.threat import Goal, ThreatModel
from sparring_attacks.wasserstein import SPEC, Params, Wasserstein


@pytest.fixture(scope="module")
def right(victim: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    rows = (victim.predict(images) == labels).nonzero().flatten()[:60]
    return images[rows], labels[rows]


@pytest.fixture
def attack(victim: Model, right: tuple[Tensor, Tensor], context: Any) -> Callable[..., Tensor]:
    x, y = right

    def run(threat: ThreatModel = SPEC.threat, **params: Any) -> Tensor:
        allowed = None if threat.query_budget is None else threat.query_budget * len(x)
        view = MeteredModel(victim, SPEC.needs, allowed, attack=SPEC.name)
        return Wasserstein(Params(**params)).perturb(view, x, y, threat, Aux(goal_labels=(y + 1) % 10), context())

    return run


def least_way(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Wasserstein-1 distance of two (H, W) images of equal brightness, times it: a linear programme over all pairs."""
    height, width = one.shape
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    ways = np.linalg.norm(places[:, None] - places[None], axis=-1)
    change = (other - one).ravel()
    givers, takers = np.flatnonzero(change < -1e-7), np.flatnonzero(change > 1e-7)
    cost = ways[np.ix_(givers, takers)]
    supply, demand = -change[givers], change[takers]
    demand = demand * supply.sum() / demand.sum()
    gives = np.kron(np.eye(len(givers)), np.ones(len(takers)))
    takes = np.kron(np.ones(len(givers)), np.eye(len(takers)))
    found = linprog(cost.ravel(), A_eq=np.vstack([gives, takes]), b_eq=np.concatenate([supply, demand]))
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("distance", [0.1, 0.4])
def test_it_stays_within_the_distance_and_keeps_the_brightness(right, attack, distance) -> None:
    x, made = right[0], attack(distance=distance)
    mass = x.flatten(1).sum(dim=1)
    assert made.min() >= 0
    assert made.max() <= 1
    torch.testing.assert_close(made.flatten(1).sum(dim=1), mass, rtol=1e-5, atol=0)
    changed = [row for row in range(len(x)) if not torch.equal(x[row], made[row])]
    assert len(changed) > 10
    for row in changed[:10]:
        way = least_way(x[row, 0].double().numpy(), made[row, 0].double().numpy())
        assert 0 < way <= distance * float(mass[row]) * (1 + 1e-4)


def test_a_longer_way_fells_more(victim, right, attack) -> None:
    y = right[1]
    fallen = [
        float((victim.predict(attack(distance=distance)) != y).float().mean()) for distance in (0, 0.05, 0.2, 0.8)
    ]
    assert fallen[0] == 0
    assert fallen == sorted(fallen)
    assert fallen[-1] > 0.9
    assert 0 < fallen[1] < fallen[-1]


def test_targets_are_reached(victim, right, attack) -> None:
    made = attack(ThreatModel(goal=Goal.TARGETED), distance=1.5)
    assert float((victim.predict(made) == (right[1] + 1) % 10).float().mean()) > 0.6


def test_a_query_budget_is_kept_and_costs_strength(victim, right, attack) -> None:
    y, short = right[1], ThreatModel(goal=Goal.EVASION, query_budget=4)
    fallen = [float((victim.predict(attack(t, distance=0.3)) != y).float().mean()) for t in (short, SPEC.threat)]
    assert fallen[0] <= fallen[1]
