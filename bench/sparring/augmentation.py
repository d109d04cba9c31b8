"""Random changes of whole batches of training images (N, C, H, W), as a `Recipe` names them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.training import Augmentation

NOISE_SIGMA = 0.1


def augment(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """`x`, float32 in [0, 1], changed at random; `generator` lies on the CPU, so that all devices draw the same."""
    match augmentation:
        case Augmentation.NONE:
            return x
        case Augmentation.SHIFT:
            return shifted(x, generator)
        case Augmentation.SHIFT_FLIP:
            return mirrored(shifted(x, generator), generator)
        case Augmentation.GAUSSIAN:
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            return (x + NOISE_SIGMA * noise).clamp_(0, 1)


def shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops of the images in a black frame, one eighth of the side wide (at least one pixel)."""
    count, _, height, width = x.shape
    tall, wide = max(1, height // 8), max(1, width // 8)
    top = torch.randint(2 * tall + 1, (count, 1), generator=generator)
    left = torch.randint(2 * wide + 1, (count, 1), generator=generator)
    rows = (top + torch.arange(height)).to(x.device)
    columns = (left + torch.arange(width)).to(x.device)
    framed = F.pad(x, (wide, wide, tall, tall)).permute(0, 2, 3, 1)
    image = torch.arange(count, device=x.device)[:, None, None]
    return framed[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image as it is, or, one time in two, its left-right mirror image."""
    turn = torch.rand(len(x), generator=generator).to(x.device) < 0.5
    return torch.where(turn[:, None, None, None], x.flip(3), x)
