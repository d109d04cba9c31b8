"""A softmax layer on features, and what training rows do to its losses: influence functions in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True, eq=False)
class SoftmaxLayer:
    """Weights (K, D + 1), the last column being the bias, of multinomial logistic regression: mean cross-entropy plus
    decay / 2 times the squared weights, at its minimum."""

    weight: Tensor
    decay: float

    @classmethod
    def fitted(
        cls, found: Tensor, y: Tensor, classes: int, decay: float, *, tolerance: float = 1e-9, iterations: int = 200
    ) -> SoftmaxLayer:
        """On features (N, D) with labels y (N,); L-BFGS, from zero, until a step changes the loss by less than
        `tolerance`. The default leaves a loss of a test image uncertain by about 1e-3."""
        f = _with_bias(found)
        weight = torch.zeros(classes, f.shape[1], dtype=f.dtype, device=f.device, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [weight],
            max_iter=iterations,
            tolerance_grad=min(1e-7, tolerance),
            tolerance_change=tolerance,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            value: Tensor = F.cross_entropy(f @ weight.T, y) + decay / 2 * weight.square().sum()
            (weight.grad,) = torch.autograd.grad(value, weight)
            return value

        with torch.enable_grad():
            optimiser.step(loss)
        return cls(weight.detach(), decay)

    def solved(self, known: Tensor, images: Tensor, goals: Tensor, iterations: int = 200) -> Tensor:
        """(T, K, D + 1) H⁻¹ ∇L for each of the images (T, D) at labels `goals`, where H is the Hessian of the loss on
        the features `known` (N, D): conjugate gradients on all of them together (Koh & Liang 2017, section 3)."""
        f = _with_bias(known)
        p = (f @ self.weight.T).softmax(dim=1)

        def hessian(v: Tensor) -> Tensor:
            moved = torch.einsum("nd,tkd->tnk", f, v)
            curved = p * (moved - (p * moved).sum(dim=2, keepdim=True))
            return torch.einsum("tnk,nd->tkd", curved, f) / len(f) + self.decay * v

        right = self.slopes(images, goals)
        x = torch.zeros_like(right)
        residual, direction = right.clone(), right.clone()
        size = _squares(residual)
        for _ in range(iterations):
            if bool((size <= 1e-10 * _squares(right)).all()):
                break
            pushed = hessian(direction)
            length = size / (direction * pushed).sum(dim=(1, 2), keepdim=True).clamp(min=1e-30)
            x = x + length * direction
            residual = residual - length * pushed
            size, before = _squares(residual), size
            direction = residual + size / before.clamp(min=1e-30) * direction
        return x

    def slopes(self, found: Tensor, y: Tensor) -> Tensor:
        """(N, K, D + 1) gradient of each row's cross-entropy in the weights."""
        f = _with_bias(found)
        return torch.einsum("nk,nd->nkd", self._excess(f, y), f)

    def influences(self, found: Tensor, y: Tensor, solved: Tensor) -> Tensor:
        """(N,) solved_i · ∇L(row i): how fast the loss that `solved` (N, K, D + 1) stands for falls with the weight of
        each row. Differentiable in the features `found` (N, D)."""
        f = _with_bias(found)
        moved = torch.einsum("nd,nkd->nk", f, solved.to(f.dtype))
        return (self._excess(f, y) * moved).sum(dim=1)

    def influence_slopes(self, found: Tensor, y: Tensor, solved: Tensor) -> Tensor:
        """(N, D) gradient of `influences` in the features, for one `solved` (K, D + 1)."""
        with torch.enable_grad():
            leaf = found.detach().requires_grad_(True)
            total = self.influences(leaf, y, solved.expand(len(found), -1, -1)).sum()
            return torch.autograd.grad(total, leaf)[0]

    def _excess(self, f: Tensor, y: Tensor) -> Tensor:
        """(N, K) probabilities minus the one-hot labels."""
        return (f @ self.weight.T).softmax(dim=1) - F.one_hot(y, len(self.weight))


def _with_bias(found: Tensor) -> Tensor:
    return torch.cat([found, found.new_ones(len(found), 1)], dim=1).double()


def _squares(v: Tensor) -> Tensor:
    return v.square().sum(dim=(1, 2), keepdim=True)
