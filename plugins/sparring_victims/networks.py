"""The torch networks behind the victims `mlp`, `cnn` and `logistic`, and what these victims share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import ArrayDataset, Arrays
from sparring.model import NetworkModel, load_state, untouched_randomness
from sparring.training import Recipe
from sparring.training_loop import initialised, train

Shape = tuple[int, int, int]
"""(C, H, W) of one image."""


class VictimNetwork(nn.Module):
    """Features and a linear layer on top.

    The image shape is a buffer, so that a model's state says by itself which network it belongs to.

    Args:
        shape: (C, H, W) of the images.
        body: maps (N, C, H, W) to (N, D) features.
        width: D.
        classes: K.
    """

    image_shape: Tensor

    def __init__(self, shape: Shape, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("image_shape", torch.tensor(shape, dtype=torch.int64))
        self.body = body
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """(N, D) penultimate activations."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


Build = Callable[[Shape, int], VictimNetwork]
"""(image shape, classes) to a network with fresh weights."""


class ChannelsLast(nn.Module):
    """Lays images out channels last on the CPU, where convolutions and pools are twice as fast so; same values.

    It stands behind the first convolution, because the layout of one-channel images is ambiguous.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def dense_layers(widths: Sequence[int], activation: Callable[[], nn.Module]) -> list[nn.Module]:
    """Fully connected layers from `widths[0]` inputs on, each with its activation."""
    return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), activation())]


def fit_network(build: Build, train_set: ArrayDataset, recipe: Recipe, ctx: Context) -> NetworkModel:
    """A network initialised from the stage's seed and trained as `recipe` says."""
    network = initialised(lambda: build(train_set.image_shape, train_set.classes), ctx)
    return NetworkModel(train(network, train_set, recipe, ctx), train_set.classes)


def restore_network(build: Build, state: Arrays, ctx: Context) -> NetworkModel:
    """The model whose `state()` this is."""
    channels, height, width = (int(side) for side in state["image_shape"])
    classes = len(state["head.bias"])
    with untouched_randomness():
        network = build((channels, height, width), classes)
    return NetworkModel(load_state(network, state).to(ctx.device), classes)
