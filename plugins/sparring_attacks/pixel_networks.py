"""The small network of a single-pixel attacker, and Grad-CAM of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.data import ArrayDataset, FloatArray
from sparring.training import Recipe
from sparring.training_loop import initialised, train

CHANNELS = (8, 16)
HIDDEN = 64


class PixelNetwork(nn.Module):
    """Two 3 x 3 convolutions of 8 and 16 channels with batch normalisation, one 2 x 2 pool, a hidden layer of 64.

    Small nets of this kind, with few pools, follow single pixels; deep ones and those with many pools do not.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        first, second = CHANNELS
        self.first = nn.Sequential(nn.Conv2d(channels, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second))
        self.pool = nn.Sequential(nn.MaxPool2d(2) if min(height, width) > 1 else nn.Identity(), nn.ReLU())
        cells = self.cells(torch.zeros(1, *shape))
        self.hidden = nn.Linear(cells[0].numel(), HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def cells(self, x: Tensor) -> Tensor:
        """(N, 16, H // 2, W // 2): what the convolutions make of images of any size."""
        after: Tensor = self.pool(self.second(self.first(x)))
        return after

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.hidden(self.cells(x).flatten(1))))
        return logits


def fitted(data: ArrayDataset, epochs: int, ctx: Context) -> PixelNetwork:
    """A network trained from scratch: Adam 1e-3, batches of 128."""
    network = initialised(lambda: PixelNetwork(data.image_shape, data.classes), ctx)
    train(network, data, Recipe(epochs=epochs), ctx)
    assert isinstance(network, PixelNetwork)
    return network.requires_grad_(False)


def class_activation_maps(network: PixelNetwork, data: ArrayDataset, device: str) -> FloatArray:
    """(K, H, W) Grad-CAM of the true class at the last convolution, averaged over the images of each class.

    Selvaraju et al. 2017, equations 1 and 2, as captum computes them. Classes without images get a map of zeros.
    """
    from captum.attr import LayerGradCam

    grad_cam = LayerGradCam(network, network.second)
    _, height, width = data.image_shape
    maps = torch.zeros(data.classes, height, width)
    for rows in torch.arange(len(data)).split(500):
        part = data.rows(rows.numpy())
        x, y = torch.tensor(part.x, device=device), torch.tensor(part.y, device=device)
        found = grad_cam.attribute(x.requires_grad_(True), target=y, relu_attributions=True)
        maps.index_add_(0, y.cpu(), found.detach().cpu()[:, 0])
    counts = torch.from_numpy(np.bincount(data.y, minlength=data.classes)).clamp(min=1)
    return (maps / counts[:, None, None]).numpy().astype(np.float32)
