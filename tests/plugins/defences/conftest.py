"""What the defences are tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.model import Model, NetworkModel


class Linear(nn.Module):
    """Logits linear in the pixels: its gradient is the same everywhere."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(int(np.prod(shape)), classes)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Context]:
    return lambda seed=0: Context(seed=seed, device="cpu", scratch=tmp_path)


@pytest.fixture(scope="session")
def linear() -> Callable[..., Model]:
    def make(shape: tuple[int, int, int], classes: int = 10) -> Model:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return NetworkModel(Linear(shape, classes), classes)

    return make


@pytest.fixture(scope="session")
def digits() -> ArrayDataset:
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    return ArrayDataset(x, labels.astype(np.int64), tuple("0123456789"))
