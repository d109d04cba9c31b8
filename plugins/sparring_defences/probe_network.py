"""A small network that a defender trains for itself, to look at data through what it learns from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from sparring.contracts import Context
    from sparring.data import ArrayDataset, FloatArray

HIDDEN = 128


def learned_features(train: ArrayDataset, epochs: int, ctx: Context) -> FloatArray:
    """(N, 128) activations of the last hidden layer on `train`, after `epochs` of training on the same data."""
    import torch

    from sparring.model import NetworkModel
    from sparring.training import Recipe
    from sparring.training_loop import initialised
    from sparring.training_loop import train as fit

    network = initialised(lambda: probe_network(train.image_shape, train.classes), ctx)
    fitted = NetworkModel(fit(network, train, Recipe(epochs=epochs), ctx), train.classes)
    with torch.no_grad():
        parts = [fitted.features(part.to(ctx.device)).cpu() for part in torch.tensor(train.x).split(512)]
    return torch.cat(parts).numpy()


def probe_network(image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two convolutions, one pool, one hidden layer: (N, C, H, W) to (N, K), with `features` (N, 128)."""
    import torch
    from torch import Tensor, nn

    channels, height, width = image_shape

    class ProbeNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(channels, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveMaxPool2d((-(-height // 2), -(-width // 2))),
                nn.Flatten(),
            )
            self.hidden = nn.Linear(32 * -(-height // 2) * -(-width // 2), HIDDEN)
            self.out = nn.Linear(HIDDEN, classes)

        def features(self, x: Tensor) -> Tensor:
            return torch.relu(self.hidden(self.body(x)))

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.out(self.features(x))
            return logits

    return ProbeNetwork()
