"""Spaces of fewer dimensions than the image in which a perturbation is looked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.data import ArrayDataset

PROBES = 256
"""Random codes by which a decoder's scale is told."""

Shape = tuple[int, int, int]


class AttackSpace(Protocol):
    """Codes (N, K) for perturbations (N, C, H, W). A code of zeros is no perturbation, and random codes of length 1
    make perturbations of about that L2 length, so that step sizes mean the same in every space."""

    size: int

    def decode(self, codes: Tensor) -> Tensor: ...


class BilinearSpace:
    """Small images, scaled up bilinearly (Tu et al. 2019, AutoZOOM-BiLIN).

    Args:
        shape: (C, H, W) of the perturbations.
        reduction: height and width are divided by it, and rounded up.
    """

    def __init__(self, shape: Shape, reduction: int) -> None:
        channels, height, width = shape
        self._small = (channels, math.ceil(height / reduction), math.ceil(width / reduction))
        self._large = (height, width)
        self.size = math.prod(self._small)

    def decode(self, codes: Tensor) -> Tensor:
        from torch.nn import functional as F  # noqa: N812

        return F.interpolate(codes.view(-1, *self._small), self._large, mode="bilinear", align_corners=False)


class AutoencoderSpace:
    """The decoder of a convolutional autoencoder that is trained on the attacker's images (Tu et al. 2019,
    AutoZOOM-AE). It has no biases, so that a code of zeros is no perturbation."""

    def __init__(self, shape: Shape, reduction: int, train: ArrayDataset | None, ctx: Context) -> None:
        from sparring_attacks.perturbation_autoencoder import trained_autoencoder

        if train is None or len(train) == 0:
            raise ValueError("an autoencoder needs training images")
        self._network = trained_autoencoder(shape, reduction, train, ctx)
        self._small = self._network.code_shape
        self.size = math.prod(self._small)

    def decode(self, codes: Tensor) -> Tensor:
        return self._network.decode(codes.view(-1, *self._small)).detach()


class UnitScale:
    """A space whose random codes of length 1 make perturbations of mean L2 length 1."""

    def __init__(self, inner: AttackSpace, device: torch.device, generator: torch.Generator) -> None:
        import torch

        self._inner = inner
        self.size = inner.size
        codes = torch.randn(PROBES, inner.size, generator=generator).to(device)
        lengths = inner.decode(codes / codes.norm(dim=1, keepdim=True)).flatten(1).norm(dim=1)
        self._scale = 1 / max(float(lengths.mean()), 1e-12)

    def decode(self, codes: Tensor) -> Tensor:
        return self._scale * self._inner.decode(codes)
