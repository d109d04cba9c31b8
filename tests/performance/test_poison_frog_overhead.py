"""The frogs of 100 targets against a hand-written loop of feature matching, in one run with interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from sparring.contracts import Aux, Context
from sparring.data import ArrayDataset, Targets
from sparring.model import NetworkModel
from sparring.threat import ThreatModel
from sparring_attacks import poison_frog
from sparring_victims.backbones import vgg_body
from sparring_victims.networks import VictimNetwork

EPSILON, STEPS, TARGETS, BASES, BATCH, ROUNDS = 7 / 255, 5, 100, 4, 100, 6
STEP_SIZE = 2.5 * EPSILON / STEPS
SHAPE = (3, 32, 32)


def by_hand(network: VictimNetwork, bases: Tensor, targets: Tensor) -> Tensor:
    """The least that it takes to move `bases` (N, C, H, W), as many for each of the `targets` (T, C, H, W)."""
    with torch.no_grad():
        all_wanted = network.features(targets).repeat_interleave(len(bases) // len(targets), dim=0)
    moved = []
    for x, wanted in zip(bases.split(BATCH), all_wanted.split(BATCH), strict=True):
        low, high = (x - EPSILON).clamp(min=0), (x + EPSILON).clamp(max=1)
        for _ in range(STEPS):
            leaf = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad((network.features(leaf) - wanted).square().sum(), leaf)
            x = torch.minimum(torch.maximum(leaf.detach() - STEP_SIZE * gradient.sign(), low), high)
        moved.append(x)
    return torch.cat(moved)


def images(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((count, *SHAPE), dtype=np.float32)


def seconds(run: Callable[[], object]) -> float:
    """Of CPU, which other jobs of the machine do not count to."""
    start = time.process_time()
    run()
    return time.process_time() - start


@pytest.mark.performance
def test_the_frogs_of_a_hundred_targets_cost_what_the_bare_loop_costs(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    body, width = vgg_body(SHAPE, (1, 1, 1, 1, 1), 16, batch_norm=False)
    model = NetworkModel(VictimNetwork(SHAPE, body, width, 5), 5)
    train = ArrayDataset(images(BASES, 0), np.zeros(BASES, dtype=np.int64), ("base", "target"))
    goal = np.zeros(TARGETS, dtype=np.int64)
    targets = Targets(x=images(TARGETS, 1), y=goal + 1, goal=goal, rows=np.arange(TARGETS))
    bases = torch.from_numpy(np.tile(train.x, (TARGETS, 1, 1, 1)))
    wanted = torch.from_numpy(targets.x)
    attack = poison_frog.PoisonFrog(poison_frog.Params(steps=STEPS, batch_size=BATCH))
    threat = ThreatModel(epsilon=EPSILON, poison_fraction=1.0)

    def by_plugin() -> object:
        ctx = Context(seed=0, device="cpu", scratch=tmp_path)
        return attack.poison(train, threat, targets, Aux(features=model), ctx)

    bare: list[float] = []
    plugged: list[float] = []

    def one_round() -> None:
        turns = [(bare, lambda: by_hand(model.weights(), bases, wanted)), (plugged, by_plugin)]
        for times, run in turns if len(bare) % 2 else reversed(turns):  # neither always follows the other
            times.append(seconds(run))

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)
    ratio = min(plugged) / min(bare)  # whatever else the machine does only adds to a round
    benchmark.extra_info |= {"ratio": ratio, "bare": min(bare), "plugin": min(plugged)}
    per_step = min(plugged) / (TARGETS * BASES * STEPS) * 1e6
    print(f"{ratio:.3f} x {min(bare):.2f} s; {per_step:.0f} us per step and image")
    assert ratio <= 1.1
