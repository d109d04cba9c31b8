"""Training images moved so that their frozen features change: what poisons of the feature space share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.threat import Norm
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.model import Model


class Method(StrEnum):
    FGSM = "fgsm"
    PGD = "pgd"


@dataclass(frozen=True)
class Walk:
    """Steps along the sign of a gradient, within `epsilon` in L-infinity. All lengths in [0, 1] pixels."""

    epsilon: float
    steps: int
    step_size: float
    batch_size: int

    @classmethod
    def of(cls, method: Method, epsilon: float, steps: int, step_size: float | None, batch_size: int) -> Walk:
        """`FGSM`: one step of the whole budget. `PGD`: `steps` of `step_size`, by default 2.5 epsilon / steps."""
        if method is Method.FGSM:
            return cls(epsilon, 1, epsilon, batch_size)
        return cls(epsilon, steps, 2.5 * epsilon / steps if step_size is None else step_size, batch_size)


Loss = Callable[["Tensor", slice], "Tensor"]
"""(features of a batch (B, D), which rows of all images it is) to the summed loss of these images."""


def descended(features: Model, x: Tensor, loss: Loss, walk: Walk, ctx: Context) -> Tensor:
    """Images (N, C, H, W) near `x`, on the CPU, whose features have a lower loss; every image for itself.

    Gradients are taken with respect to the images alone.
    """
    import torch

    if walk.epsilon <= ROUNDING or len(x) == 0:
        return x.clone()
    batches = range(0, len(x), walk.batch_size)
    moved = []
    for number, start in enumerate(batches):
        rows = slice(start, min(start + walk.batch_size, len(x)))
        clean = x[rows].to(ctx.device)
        low, high = (clean - walk.epsilon).clamp_(min=0), (clean + walk.epsilon).clamp_(max=1)
        near = clean
        for step in range(walk.steps):
            leaf = near.detach().requires_grad_(True)
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(loss(features.features(leaf), rows), leaf)
            near = (leaf.detach() - walk.step_size * gradient.sign_()).clamp_(low, high)
            ctx.progress(number * walk.steps + step + 1, len(batches) * walk.steps, "moving features")
        moved.append(project(near, clean, Norm.LINF, walk.epsilon).cpu())
    return torch.cat(moved)


def features_of(features: Model, x: Tensor, batch_size: int, ctx: Context) -> Tensor:
    """(N, D) features of the images (N, C, H, W), on `ctx.device`, without gradients."""
    import torch

    with torch.no_grad():
        return torch.cat([features.features(part.to(ctx.device)) for part in x.split(batch_size)])
