"""A small convolutional autoencoder whose decoder makes perturbations."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.training_loop import initialised

CHANNELS = 8
STEPS = 200
BATCH = 32
LEARNING_RATE = 3e-3


class Autoencoder(nn.Module):
    """Convolution, mean pooling to the code; scaling up and convolution back. Neither part has biases, so images of
    zeros have codes of zeros, and back.

    Args:
        shape: (C, H, W) of the images.
        reduction: the code's height and width are the image's divided by it, rounded up.
    """

    def __init__(self, shape: tuple[int, int, int], reduction: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.code_shape = (channels, math.ceil(height / reduction), math.ceil(width / reduction))
        self.size = (height, width)
        self.wide_in = nn.Conv2d(channels, CHANNELS, 3, padding=1, bias=False)
        self.to_code = nn.Conv2d(CHANNELS, channels, 3, padding=1, bias=False)
        self.from_code = nn.Conv2d(channels, CHANNELS, 3, padding=1, bias=False)
        self.wide_out = nn.Conv2d(CHANNELS, channels, 3, padding=1, bias=False)

    def encode(self, x: Tensor) -> Tensor:
        code: Tensor = self.to_code(F.adaptive_avg_pool2d(F.relu(self.wide_in(x)), self.code_shape[1:]))
        return code

    def decode(self, code: Tensor) -> Tensor:
        large = F.interpolate(F.leaky_relu(self.from_code(code)), self.size, mode="nearest")
        image: Tensor = self.wide_out(large)
        return image


def trained_autoencoder(shape: tuple[int, int, int], reduction: int, train: ArrayDataset, ctx: Context) -> Autoencoder:
    """An autoencoder after some hundred steps of ADAM on the squared error of its reconstructions."""
    network = initialised(lambda: Autoencoder(shape, reduction), ctx)
    assert isinstance(network, Autoencoder)
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            rows = ctx.rng.integers(0, len(train), BATCH)
            x = torch.from_numpy(np.array(train.rows(rows).x)).to(ctx.device)
            loss = F.mse_loss(network.decode(network.encode(x)), x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            ctx.progress(step + 1, STEPS, "steps of the autoencoder")
    ctx.curve("reconstruction error", STEPS, float(loss.detach()))
    return network.eval().requires_grad_(False)
