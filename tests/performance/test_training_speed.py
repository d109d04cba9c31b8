"""The training loop against the usual loop over a DataLoader: same images, same architecture, one epoch each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from sparring.contracts import Context
from sparring.subset import SubsetParams
from sparring.training import Recipe
from sparring_datasets.mnist import Mnist
from sparring_victims import cnn, mlp

pytestmark = [
    pytest.mark.performance,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names no folder with MNIST"),
]
ROWS = 12_000


def usual_cnn() -> nn.Module:
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))


def usual_mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def usual_epoch(network: nn.Module, loader: DataLoader[tuple[torch.Tensor, int]]) -> None:
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for x, y in loader:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()


def best_of(repeats: int, run: Callable[[], object]) -> float:
    def seconds() -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    return min(seconds() for _ in range(repeats))


@pytest.mark.parametrize(
    ("victim", "usual"), [(mlp.Mlp(mlp.Params()), usual_mlp), (cnn.Cnn(cnn.Params()), usual_cnn)], ids=["mlp", "cnn"]
)
def test_an_epoch_takes_at_most_half_the_time_of_the_usual_loop(
    victim: mlp.Mlp | cnn.Cnn, usual: Callable[[], nn.Module]
) -> None:
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    ctx = Context(seed=0, device="cpu", scratch=Path("/nonexistent"))
    train = Mnist(SubsetParams()).load(ctx)[0].rows(range(ROWS))
    images = datasets.MNIST(os.environ["SPARRING_DATA"], transform=transforms.ToTensor())
    loader = DataLoader(Subset(images, range(ROWS)), batch_size=64, shuffle=True)
    recipe = Recipe(epochs=1, batch_size=64)
    theirs = best_of(3, lambda: usual_epoch(usual(), loader))
    ours = best_of(3, lambda: victim.fit(train, recipe, ctx))
    print(f"ours {ours:.2f} s, usual {theirs:.2f} s, {theirs / ours:.2f} x")
    assert ours <= theirs / 2
