"""A small network trained on scikit-learn's digits: what the attacks are tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.model import MeteredModel, Model, NetworkModel
from sparring.threat import Access

MakeContext = Callable[..., Context]


class SmallNet(nn.Module):
    """One convolution with batch normalisation, one hidden layer; any image size."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8 * height * width, 32)
        self.out = nn.Linear(32, classes)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.hidden(F.relu(self.norm(self.conv(x))).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def context(tmp_path: Path) -> MakeContext:
    return lambda seed=0: Context(seed=seed, device="cpu", scratch=tmp_path)


@pytest.fixture(scope="session")
def digits() -> ArrayDataset:
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    return ArrayDataset(x, labels.astype(np.int64), tuple("0123456789"))


@pytest.fixture(scope="session")
def victim(digits: ArrayDataset) -> Model:
    """About 95 % right on the last 300 digits, which it has not seen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SmallNet(1, 8, 8, 10)
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
        x, y = torch.tensor(digits.x[:-300]), torch.tensor(digits.y[:-300])
        for _ in range(12):
            for rows in torch.randperm(len(y)).split(64):
                optimiser.zero_grad()
                F.cross_entropy(network(x[rows]), y[rows]).backward()
                optimiser.step()
        optimiser.zero_grad()
    return NetworkModel(network, 10)


@pytest.fixture(scope="session")
def images(digits: ArrayDataset) -> Tensor:
    return torch.tensor(digits.x[-200:])


@pytest.fixture(scope="session")
def labels(digits: ArrayDataset) -> Tensor:
    return torch.tensor(digits.y[-200:])


@pytest.fixture(scope="session")
def white_box() -> Callable[[Model], MeteredModel]:
    return lambda model: MeteredModel(model, frozenset({Access.GRADIENTS}))


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Model]:
    """A network for images of any shape, with weights by seed."""

    def make(shape: tuple[int, int, int], classes: int, seed: int = 0) -> Model:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return NetworkModel(SmallNet(*shape, classes), classes)

    return make
