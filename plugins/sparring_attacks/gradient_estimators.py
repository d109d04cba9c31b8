"""Gradients from function values: differences along directions.

Queried points are images: they are clipped to [0, 1] as what an interface would take. An estimator therefore divides
by the way that was really gone, not by the one that was meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sparring_attacks.query_ledger import ROWS_PER_CALL

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Ask = Callable[["Tensor"], "Tensor"]
"""(M, Q, C, H, W) images, Q for each of M rows, to their losses (M, Q)."""


def central(ask: Ask, x: Tensor, ways: Tensor) -> Tensor:
    """(M, C, H, W) estimate of the loss's gradient at `x` (M, C, H, W), from 2 Q queries per image.

    The sum over the ways w of (f(x + w) - f(x - w)) w / 2|w|²: along orthogonal ways, the gradient's projection onto
    what they span; along Q random ones in d dimensions, on average Q/d of the gradient of the smoothed loss.

    Args:
        ways: (M, Q, C, H, W), or (1, Q, C, H, W) for the same ways at all images.
    """
    import torch

    total = torch.zeros_like(x)
    for some in _portions(x, 2, ways):
        ahead, behind = (x[:, None] + some).clamp(0, 1), (x[:, None] - some).clamp(0, 1)
        losses = ask(torch.cat([ahead, behind], dim=1))
        here = some.shape[1]
        total += _along(ahead - behind, losses[:, :here] - losses[:, here:])
    return total


def forward(ask: Ask, x: Tensor, loss: Tensor, ways: Tensor) -> Tensor:
    """As `central`, but from the loss (M,) at `x`, which is known already, and Q queries per image: the sum of
    (f(x + w) - f(x)) w / |w|²."""
    import torch

    total = torch.zeros_like(x)
    for some in _portions(x, 1, ways):
        ahead = (x[:, None] + some).clamp(0, 1)
        total += _along(ahead - x[:, None], ask(ahead) - loss[:, None])
    return total


def signs_of_each(ask: Ask, x: Tensor, loss: Tensor, ways: Tensor) -> Tensor:
    """(M, C, H, W) votes over the signs of one forward estimate per way (Liu et al. 2019, ZO-M-signSGD, eq. 12)."""
    import torch

    votes = torch.zeros_like(x)
    for some in _portions(x, 1, ways):
        ahead = (x[:, None] + some).clamp(0, 1)
        rise = (ask(ahead) - loss[:, None])[:, :, None, None, None]
        votes += (rise * (ahead - x[:, None])).sign().sum(dim=1)
    return votes


def gaussian(like: Tensor, count: int, deviation: float, generator: torch.Generator) -> Tensor:
    """(M, count, C, H, W) normal noise, one set of ways for each image of `like` (M, C, H, W)."""
    import torch

    shape = (len(like), count, *like.shape[1:])
    return (deviation * torch.randn(shape, generator=generator)).to(like.device)


def on_sphere(like: Tensor, count: int, radius: float, generator: torch.Generator) -> Tensor:
    """(M, count, C, H, W) vectors drawn uniformly from the sphere, one set for each image of `like` (M, C, H, W)."""
    drawn = gaussian(like, count, 1.0, generator)
    length = drawn.flatten(2).norm(dim=2).clamp(min=1e-12)
    scaled: Tensor = radius * drawn / length[:, :, None, None, None]
    return scaled


def _portions(x: Tensor, points: int, ways: Tensor) -> tuple[Tensor, ...]:
    """`ways` in parts for which `points` queries each make one call of the model."""
    portions: tuple[Tensor, ...] = ways.split(max(1, ROWS_PER_CALL // max(1, points * len(x))), dim=1)
    return portions


def _along(ways: Tensor, rises: Tensor) -> Tensor:
    """(M, C, H, W) the sum of rise / |w|² w over (M, Q, C, H, W) ways; a way of no length counts nothing."""
    squares = ways.flatten(2).square().sum(dim=2)
    rates = (rises / squares).where(squares > 0, 0.0)
    return (rates[:, None] @ ways.flatten(2)).view(len(ways), *ways.shape[2:])
