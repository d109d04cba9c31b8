"""Training images moved so that what a network learns from them is what it would learn from others: gradient matching,
which `gradient-matching` and `sleeper-agent` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.model import Model
from sparring.threat import Norm
from sparring_attacks.balls import project


@dataclass(frozen=True)
class Descent:
    """Steps of Adam along the sign of the gradient, whose rate falls to a tenth after 3/8, 5/8 and 7/8 of them (Geiping
    et al. 2021, appendix A.1), from random starts, of which the best is kept."""

    epsilon: float
    steps: int
    restarts: int
    batch_size: int


def differentiable(model: Model) -> nn.Module:
    """A copy of the model's network whose parameters want gradients.

    Raises:
        NotOffered: it is no network.
    """
    import copy

    return copy.deepcopy(model.weights()).eval().requires_grad_(True)


def weight_gradient(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(P,) gradient of the mean cross-entropy in all parameters."""
    total = None
    for images, labels in zip(x.split(256), y.split(256), strict=True):
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        part = _flat(torch.autograd.grad(loss, tuple(network.parameters())))
        total = part if total is None else total + part
    assert total is not None, "there is an image"
    return (total / len(x)).detach()


def gradient_norms(network: nn.Module, x: Tensor, y: Tensor, ctx: Context) -> Tensor:
    """(N,) length of each image's own gradient in all parameters (Souri et al. 2022, section 3.3)."""
    norms = []
    for number in range(len(x)):
        norms.append(weight_gradient(network, x[number : number + 1], y[number : number + 1]).norm())
        ctx.progress(number + 1, len(x), "gradients of training images")
    return torch.stack(norms)


def matched(network: nn.Module, x: Tensor, y: Tensor, wanted: Tensor, descent: Descent, ctx: Context) -> Tensor:
    """Images near `x` (M, C, H, W), with labels `y`, whose summed gradient points where `wanted` (P,) does: the best of
    several random starts."""
    found = []
    for _ in range(descent.restarts):
        found.append(matched_from(anywhere_near(x, descent.epsilon, ctx), network, x, y, wanted, descent, ctx))
    return min(found, key=lambda pair: pair[0])[1]


def anywhere_near(x: Tensor, epsilon: float, ctx: Context) -> Tensor:
    """Images drawn uniformly within `epsilon`, clipped to [0, 1]."""
    drawn = epsilon * (2 * torch.rand(x.shape, generator=ctx.generator) - 1)
    return (x + drawn.to(x.device)).clamp(0, 1)


def matched_from(
    start: Tensor, network: nn.Module, x: Tensor, y: Tensor, wanted: Tensor, descent: Descent, ctx: Context
) -> tuple[float, Tensor]:
    """Lowers 1 - cos(wanted, Σ gradients) (Geiping et al. 2021, equation 3) from images `start`, within the bound of
    `x`; a batch sees its own images only. The least mean over batches, and the images that reach it."""
    best, least = start, float("inf")
    low, high = (x - descent.epsilon).clamp(min=0), (x + descent.epsilon).clamp(max=1)
    moved = start.clone()
    optimiser = torch.optim.Adam([moved], lr=descent.epsilon / 10)
    for step in range(descent.steps + 1):
        loss, slope = _mismatch(network, moved, y, wanted, descent.batch_size)
        if loss < least:
            best, least = moved.clone(), loss
        if step < descent.steps:
            falls = sum(step >= descent.steps * eighths / 8 for eighths in (3, 5, 7))
            optimiser.param_groups[0]["lr"] = descent.epsilon / 10 * 0.1**falls
            moved.grad = slope.sign()
            optimiser.step()
            moved.copy_(moved.maximum(low).minimum(high))
            ctx.progress(step + 1, descent.steps, "matching gradients")
    return least, project(best, x, Norm.LINF, descent.epsilon)


def _mismatch(network: nn.Module, x: Tensor, y: Tensor, wanted: Tensor, size: int) -> tuple[float, Tensor]:
    """1 - cos, averaged over batches, and its gradient in the images."""
    losses, slopes = [], []
    parameters = tuple(network.parameters())
    for images, labels in zip(x.split(size), y.split(size), strict=True):
        leaf = images.detach().requires_grad_(True)
        found = torch.autograd.grad(F.cross_entropy(network(leaf), labels), parameters, create_graph=True)
        loss = 1 - F.cosine_similarity(_flat(found), wanted, dim=0)
        slopes.append(torch.autograd.grad(loss, leaf)[0])
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses), torch.cat(slopes)


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
