"""Perturbations that are the same for all images: keeping them in a ball, and applying them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.threat import Norm

if TYPE_CHECKING:
    from torch import Tensor


def within_ball(perturbation: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """The nearest perturbation (C, H, W) of length `epsilon` at most."""
    if norm is Norm.LINF:
        return perturbation.clamp(-epsilon, epsilon)
    return perturbation * min(1.0, epsilon / max(float(perturbation.norm()), 1e-12))


def added(x: Tensor, perturbation: Tensor) -> Tensor:
    """The images (N, C, H, W) with the perturbation on them, clipped to [0, 1]."""
    return (x + perturbation).clamp(0, 1)
