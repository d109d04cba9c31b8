"""The two networks of DeepConfuse: the generator of the noise, and the imaginary classifier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Shape = tuple[int, int, int]
"""(C, H, W) of one image."""

N = TypeVar("N", bound=nn.Module)


class ChannelsLast(nn.Module):
    """Lays images out channels last on the CPU, where convolutions and pools are fastest so; same values.

    It stands behind convolutions, because those of one-channel images leave the layout open.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


class Generator(nn.Module):
    """g without its epsilon: (N, C, H, W) images in [0, 1] to a pattern of the same shape in [-1, 1], the last
    activation being tanh (section 3).

    4 x 4 convolutions of stride 2 encode, as many transposed ones decode (section 5). With `skips`, each decoder also
    sees what the encoder of its size saw: a U-Net (Ronneberger et al. 2015), which the paper takes for colour images.
    The paper gives neither strides nor normalisation; with batch normalisation, the pattern depends on the image from
    the start, without it an untrained network gives nearly the same one for all.

    Images are padded on all sides alike to multiples of 16 (two to the number of widths), so any size will do.

    Args:
        shape: (C, H, W) of the images.
        widths: channels of the encoders.
        skips: whether it is a U-Net.
    """

    def __init__(self, shape: Shape, widths: Sequence[int], *, skips: bool) -> None:
        super().__init__()
        channels, height, width = shape
        self.skips = skips
        self.margins = (*_margins(width, 2 ** len(widths)), *_margins(height, 2 ** len(widths)))
        self.encoders = nn.ModuleList(_encoder(a, b) for a, b in pairwise((channels, *widths)))
        outputs = widths[-2::-1]
        inputs = [widths[-1], *(wide * (1 + skips) for wide in outputs)]
        self.decoders = nn.ModuleList(_decoder(a, b) for a, b in zip(inputs[:-1], outputs, strict=True))
        self.last = nn.ConvTranspose2d(inputs[-1], channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        left, right, top, bottom = self.margins
        h = F.pad(x, self.margins)
        seen: list[Tensor] = []
        for encoder in self.encoders:
            h = encoder(h)
            seen.append(h)
        for decoder, same_size in zip(self.decoders, seen[-2::-1], strict=True):
            h = decoder(h)
            h = torch.cat([h, same_size], dim=1) if self.skips else h
        h = self.last(h)
        h = h[:, :, top : h.shape[2] - bottom, left : h.shape[3] - right]
        pattern: Tensor = h.tanh()
        return pattern


def _margins(side: int, multiple: int) -> tuple[int, int]:
    missing = -side % multiple
    return missing // 2, missing - missing // 2


def _encoder(channels: int, wide: int) -> nn.Module:
    convolution = nn.Conv2d(channels, wide, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, ChannelsLast(), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2))


def _decoder(channels: int, wide: int) -> nn.Module:
    convolution = nn.ConvTranspose2d(channels, wide, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())


class Classifier(nn.Module):
    """f: 3 x 3 convolutions, each with 2 x 2 max pooling while the image has room for it, at most one fully connected
    layer, and a linear one; ReLU throughout (section 5).

    Args:
        shape: (C, H, W) of the images.
        classes: K.
        channels: of the convolutions.
        fc: width of the fully connected layer; 0: none.
        batch_norm: after each convolution.
    """

    def __init__(self, shape: Shape, classes: int, channels: Sequence[int], fc: int, *, batch_norm: bool) -> None:
        super().__init__()
        size, height, width = shape
        layers: list[nn.Module] = []
        for wide in channels:
            layers += [nn.Conv2d(size, wide, 3, padding=1), ChannelsLast()]
            if batch_norm:
                layers.append(nn.BatchNorm2d(wide))
            if min(height, width) >= 2:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            layers.append(nn.ReLU())  # after the pooling: the same values, a quarter of the work
            size = wide
        features = size * height * width
        layers.append(nn.Flatten())
        if fc:
            layers += [nn.Linear(features, fc), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(fc or features, classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def laid_out(network: N, device: str) -> N:
    """On the device, with weights channels last."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
