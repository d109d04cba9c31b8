"""PGD through the harness's contracts against a hand-written loop, in one run with interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Aux, Context
from sparring.model import MeteredModel, NetworkModel
from sparring.threat import Access, Norm, ThreatModel
from sparring_attacks import pgd

EPSILON, STEPS, ROUNDS = 0.3, 40, 4
STEP_SIZE = 2.5 * EPSILON / STEPS


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 49, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def by_hand(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The least that PGD can do on a frozen network."""
    low, high = (x - EPSILON).clamp(min=0), (x + EPSILON).clamp(max=1)
    x_adv = x + (torch.rand_like(x) * 2 - 1) * EPSILON
    x_adv = torch.minimum(torch.maximum(x_adv, low), high)
    for _ in range(STEPS):
        x_adv.requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
        x_adv = torch.minimum(torch.maximum(x_adv.detach() + STEP_SIZE * gradient.sign(), low), high)
    return x_adv


def seconds(run: Callable[[], object]) -> float:
    """Of CPU, which other jobs of the machine do not count to."""
    start = time.process_time()
    run()
    return time.process_time() - start


@pytest.mark.performance
@pytest.mark.usefixtures("allocator")
@pytest.mark.parametrize(("backend", "limit"), [("torchattacks", 1.05), ("art", 1.25)])
def test_pgd_costs_what_the_bare_loop_costs(
    benchmark: BenchmarkFixture, tmp_path: Path, backend: str, limit: float
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = NetworkModel(lenet(), 10)
    x, y = torch.rand(256, 1, 28, 28), torch.randint(10, (256,))
    attack = pgd.ProjectedGradientDescent(pgd.Params(steps=STEPS, backend=backend))
    threat = ThreatModel(norm=Norm.LINF, epsilon=EPSILON)

    def by_plugin() -> Tensor:
        view = MeteredModel(model, frozenset({Access.GRADIENTS}))
        return attack.perturb(view, x, y, threat, Aux(), Context(seed=0, device="cpu", scratch=tmp_path))

    bare: list[float] = []
    plugged: list[float] = []

    def one_round() -> None:
        turns = [(bare, lambda: by_hand(model.weights(), x, y)), (plugged, by_plugin)]
        for times, run in turns if len(bare) % 2 else reversed(turns):  # neither always follows the other
            times.append(seconds(run))

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)
    ratio = min(plugged) / min(bare)  # whatever else the machine does only adds to a round
    benchmark.extra_info |= {"ratio": ratio, "bare": min(bare), "plugin": min(plugged)}
    print(f"{backend}: {ratio:.3f} x {min(bare):.2f} s")
    assert ratio <= limit
