"""The set an adversarial image may come from: the ball around the clean one, within the unit cube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.threat import Norm

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 2.0**-24
"""Bounds the rounding of a sum of two float32 numbers whose result lies in [-1, 1], and of epsilon to float32.
No budget up to this moves anything; libraries divide 0 by 0 there."""


def project(x_adv: Tensor, x: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """The nearest points (N, C, H, W) to `x_adv` in the ball of radius `epsilon` around `x`, clipped to [0, 1].

    The radius is shortened by what float32 can round, so the distance computed in double precision never exceeds
    `epsilon`. With `epsilon` 0 the result equals `x`.

    Raises:
        ValueError: the norm is neither L-infinity nor L2.
    """
    if norm is Norm.LINF:
        radius = max(min(epsilon, 1.0) - ROUNDING, 0.0)
        return x_adv.minimum(x + radius).maximum(x - radius).clamp(0, 1)
    if norm is Norm.L2:
        radius = max(epsilon - ROUNDING * x[0].numel() ** 0.5, 0.0) if len(x) else 0.0
        change = (x_adv.double() - x.double()).flatten(1)
        lengths = change.norm(dim=1, keepdim=True)
        inside = lengths <= radius
        scaled = change * (radius / lengths.masked_fill(inside, 1.0))
        nearest = (x.double() + scaled.view_as(x)).float()
        return x_adv.where(inside.view(-1, 1, 1, 1), nearest).clamp(0, 1)
    raise ValueError(f"no projection in norm {norm}; there are linf and l2")
