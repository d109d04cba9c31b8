"""The direction in which the generator climbs: the gradient through one step of the imaginary classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

Weights = Mapping[str, Tensor]


def gradient_through_a_step(
    classifier: nn.Module,
    weights: Weights,
    rate: float,
    poisoned: Tensor,
    clean: Tensor,
    y: Tensor,
    wanted: Tensor,
    of: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """The gradient of L(f_θ'(clean), wanted) where θ' = θ - rate ∇_θ L(f_θ(poisoned), y)
    (Feng, Cai, Zhou 2019, algorithm 2, lines 9 and 10).

    By the chain rule it is -rate ∇_ξ [v · ∇_θ L(f_θ(poisoned(ξ)), y)] with v = ∇_θ' L(f_θ'(clean), wanted) held fixed.
    So the step itself needs no graph, the second loss is differentiated once, and no gradient of second order is
    taken with respect to θ.

    Args:
        classifier: f; its parameters and running statistics are left alone, its mode is kept.
        weights: θ, by the names of f's parameters.
        rate: α_f.
        poisoned: (N, C, H, W), made from `of`.
        clean: (N, C, H, W).
        y, wanted: (N,) labels that f is trained on, and those that the second loss is taken at.
        of: ξ.

    Returns:
        One gradient for each tensor of `of`.
    """
    theta = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    slopes = torch.autograd.grad(_loss(classifier, theta, poisoned, y), tuple(theta.values()), create_graph=True)
    moved = {
        name: torch.sub(weight.detach(), slope.detach(), alpha=rate).requires_grad_()
        for (name, weight), slope in zip(theta.items(), slopes, strict=True)
    }
    v = torch.autograd.grad(_loss(classifier, moved, clean, wanted), tuple(moved.values()))
    return torch.autograd.grad(slopes, of, grad_outputs=[-rate * part for part in v])


def _loss(classifier: nn.Module, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    statistics = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    logits: Tensor = functional_call(classifier, {**weights, **statistics}, (x,))
    return F.cross_entropy(logits, y)
