"""What maps, their sanity check and influential training images say of networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparring.data import ArrayDataset
from sparring.explanation import gradients, influential, maps, sanity_check
from sparring.model import NetworkModel, TransformedModel


class Corner(nn.Module):
    """Class 1 is what is bright, wherever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 1, bias=False)
        self.convolution.weight.data.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.convolution(x)
        return torch.stack([torch.zeros(len(x)), seen.clamp(min=0)[:, 0].sum(dim=(1, 2))], dim=1)


def bright_corner() -> Tensor:
    x = torch.full((2, 1, 8, 8), 0.01)
    x[:, :, 5:, 5:] = 1.0
    return x


def test_grad_cam_lies_where_the_class_is_seen() -> None:
    found = maps(NetworkModel(Corner(), 2), torch.full((2, 1, 8, 8), 0.01), bright_corner())
    assert found is not None
    assert found.how == "Grad-CAM"
    assert found.heat[1].shape == (2, 8, 8)
    assert found.heat[1][0, 6, 6] == pytest.approx(1)
    assert found.heat[1][0, 1, 1] < 0.1


def test_without_convolutions_the_map_is_the_gradient() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    weight = torch.zeros(2, 64)
    weight[1, 9], weight[1, 10] = 2.0, -1.0
    linear[1].weight.data = weight
    model, x = NetworkModel(linear, 2), torch.ones(1, 1, 8, 8)
    found, plain = maps(model, x), gradients(model, x)
    assert found is not None
    assert plain is not None
    assert found.how == "input gradient"
    expected = np.zeros((1, 8, 8), dtype=np.float32)
    expected[0, 1, 1], expected[0, 1, 2] = 1.0, 0.5
    assert np.array_equal(found.heat[0], expected)
    assert np.array_equal(plain.heat[0], expected)


def test_a_map_that_training_did_not_make_is_found_out() -> None:
    """A positive convolution that sees one pixel gives the map of the image itself whatever its weight is, and one that
    was trained to see the opposite of what it would does not."""
    model, x = NetworkModel(Corner(), 2), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = maps(model, x)
    assert found is not None
    seeds = [sanity_check(model, found.heat[0], x, seed) for seed in range(6)]
    likeness = {round(checked.likeness, 2) for checked in seeds if checked is not None}
    assert likeness <= {1.0, 0.0}, "the same map, or none where the weight that was drawn is negative"
    assert 1.0 in likeness
    gone = sanity_check(model, np.zeros((4, 8, 8), dtype=np.float32), x, 0)
    assert gone is not None
    assert gone.likeness == 0.0
    torch.manual_seed(7)
    before = torch.rand(1)
    torch.manual_seed(7)
    sanity_check(model, found.heat[0], x, 3)
    assert torch.rand(1) == before, "nobody's random numbers move"


def test_a_network_without_weights_and_a_hidden_one_are_not_checked() -> None:
    x = bright_corner()
    flat = NetworkModel(nn.Sequential(nn.Flatten(), nn.ReLU()), 64)
    assert sanity_check(flat, np.ones((2, 8, 8), dtype=np.float32), x, 0) is None
    hidden = TransformedModel(NetworkModel(Corner(), 2), lambda images: images, "straight")
    assert sanity_check(hidden, np.ones((2, 8, 8), dtype=np.float32), x, 0) is None


class Identity(nn.Module):
    """Features: the first two pixels; logits: these twice."""

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.features(x)


def images(*pairs: tuple[float, float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array([[[list(pair)]] for pair in pairs], dtype=np.float32)


def test_influential_is_who_is_alike_and_has_the_same_label() -> None:
    """By hand: of two classes all errors are (1, -1) or its opposite, so that images of another label speak against,
    and among those of the same label the cosine of the features decides."""
    pairs = [(1.0, 0.0), (0.9, 0.1), (0.6, 0.5), (0.5, 0.6), (0.0, 1.0), (1.0, 0.05)]
    train = ArrayDataset(images(*pairs), np.array([0, 0, 0, 1, 1, 1]), ("left", "right"))
    x = torch.tensor(images((1.0, 0.1), (0.1, 1.0)))
    found = influential(NetworkModel(Identity(), 2), x, train, 3, torch.tensor)
    assert found is not None
    assert found.tolist() == [[1, 0, 2], [4, 3, 5]]


def test_forests_are_not_explained() -> None:
    class Silent(NetworkModel):
        offers = frozenset()

    model = Silent(Corner(), 2)
    train = ArrayDataset(images((0.0, 1.0)), np.array([0]), ("left", "right"))
    assert maps(model, bright_corner()) is None
    assert gradients(model, bright_corner()) is None
    assert influential(model, bright_corner(), train, 1, torch.tensor) is None
