"""The training loop, whose data set is one tensor in memory, against the usual loop over a DataLoader: same images,
same network, same optimiser, one epoch each, in turns. What the loader costs is saved; the network costs what it
costs, so the gain is large for a small network and nothing for one that outweighs the loader."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from sparring.contracts import Context
from sparring.subset import SubsetParams
from sparring.training import Optimiser, Recipe
from sparring.training_loop import train
from sparring_datasets.mnist import Mnist

pytestmark = [
    pytest.mark.performance,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names no folder with MNIST"),
]
ROWS, ROUNDS = 6_000, 4
RECIPE = Recipe(optimiser=Optimiser.ADAM, learning_rate=1e-3, epochs=1, batch_size=64)


def cnn() -> nn.Module:
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def usual_epoch(network: nn.Module, loader: DataLoader[tuple[torch.Tensor, int]]) -> None:
    optimiser = torch.optim.Adam(network.parameters(), RECIPE.learning_rate)
    for x, y in loader:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()


def seconds(run: Callable[[], object]) -> float:
    """Of CPU, which other jobs of the machine do not count to."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


@pytest.mark.parametrize(("build", "limit"), [(mlp, 0.9), (cnn, 1.0)], ids=["mlp", "cnn"])
def test_an_epoch_is_never_slower_than_by_the_usual_loop(build: Callable[[], nn.Module], limit: float) -> None:
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    ctx = Context(seed=0, device="cpu", scratch=Path("/nonexistent"))
    data = Mnist(SubsetParams()).load(ctx)[0].rows(range(ROWS))
    images = datasets.MNIST(os.environ["SPARRING_DATA"], transform=transforms.ToTensor())
    loader = DataLoader(Subset(images, range(ROWS)), batch_size=RECIPE.batch_size, shuffle=True)
    ratios = []
    for _ in range(ROUNDS):
        theirs = seconds(lambda: usual_epoch(build(), loader))
        ours = seconds(lambda: train(build(), data, RECIPE, ctx))
        ratios.append(ours / theirs)
    ratio = statistics.median(ratios[1:])  # the first round warms up
    print(f"{build.__name__}: {ratio:.2f} of the usual time, rounds {min(ratios):.2f} to {max(ratios):.2f}")
    assert ratio <= limit
