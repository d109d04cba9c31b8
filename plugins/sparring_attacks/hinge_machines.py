"""Linear support vector machines, one class against the rest, and what training rows do to their errors, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ENOUGH = 1e-4
"""Of the gradient's first length: Newton's method ends there."""


@dataclass(frozen=True, eq=False)
class HingeMachines:
    """K machines at the minimum of |w|² / 2 + c Σ max(0, 1 - t w·x)² (liblinear's primal with the squared hinge loss),
    where t is 1 for rows of the machine's own class and -1 for the others.

    Attributes:
        weight: (K, D + 1), the last column being the bias, which is regularised as liblinear does it.
        x: (N, D + 1) the rows they were fitted to, with a last column of ones.
        sides: (N, K) t of each row for each machine.
        c: weight of the losses.
    """

    weight: Tensor
    x: Tensor
    sides: Tensor
    c: float

    @classmethod
    def fitted(
        cls, x: Tensor, y: Tensor, classes: int, c: float, start: HingeMachines | None = None, iterations: int = 30
    ) -> HingeMachines:
        """To rows x (N, D) with labels y (N,), by Newton's method from the machines `start`, else from zero."""
        known, sides = with_bias(x), sides_of(y, classes, x.dtype)
        zero = torch.zeros(classes, known.shape[1], dtype=x.dtype, device=x.device)
        found = cls(zero if start is None else start.weight, known, sides, c)
        goal = ENOUGH * cls(zero, known, sides, c)._slope().norm()
        for _ in range(iterations):
            slope = found._slope()
            if slope.norm() <= goal:
                break
            found = found._stepped(-found.solved(slope))
        return found

    def slack(self, x: Tensor, sides: Tensor) -> Tensor:
        """(M, K) max(0, 1 - t w·x) of rows with a bias column."""
        return (1 - sides * (x @ self.weight.T)).clamp(min=0)

    def solved(self, right: Tensor, iterations: int = 200) -> Tensor:
        """(K, D + 1) H⁻¹ `right`, where H is each machine's generalised Hessian: conjugate gradients on all of them at
        once."""
        active = (self.slack(self.x, self.sides) > 0).to(self.x.dtype)
        found = torch.zeros_like(right)
        residual, direction = right.clone(), right.clone()
        size = residual.square().sum(dim=1, keepdim=True)
        goal = ENOUGH**2 * size
        for _ in range(iterations):
            if bool((size <= goal).all()):
                break
            pushed = direction + 2 * self.c * ((self.x @ direction.T) * active).T @ self.x
            length = size / (direction * pushed).sum(dim=1, keepdim=True).clamp(min=1e-30)
            found = found + length * direction
            residual = residual - length * pushed
            size, before = residual.square().sum(dim=1, keepdim=True), size
            direction = residual + size / before.clamp(min=1e-30) * direction
        return found

    def hinge(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean over rows x (M, D) of the sum of all machines' hinge losses."""
        return self.slack(with_bias(x), sides_of(y, len(self.weight), x.dtype)).sum(dim=1).mean()

    def ascent(self, rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(R, D) how the hinge loss on x (M, D) grows with each value of the fitted rows `rows` (R,), through the
        machines that are fitted to them: the implicit function theorem (Mei & Zhu 2015, equation 9; for one machine in
        its dual, Biggio et al. 2012, equations 5 to 10).

        A fitted row pulls its machine with -2 c t s x, s being its slack. That changes with x by -2 c t s, and, as s
        does, by 2 c x wᵀ.
        """
        outside, sides = with_bias(x), sides_of(y, len(self.weight), x.dtype)
        wrong = (self.slack(outside, sides) > 0).to(x.dtype) * sides
        solved = self.solved(-wrong.T @ outside / len(x))
        at, t = self.x[rows], self.sides[rows]
        slack = self.slack(at, t)
        projected = (at @ solved.T) * (slack > 0)
        moved = (t * slack) @ solved - projected @ self.weight
        return (2 * self.c * moved)[:, :-1]

    def _slope(self) -> Tensor:
        return self.weight - 2 * self.c * (self.sides * self.slack(self.x, self.sides)).T @ self.x

    def _value(self) -> Tensor:
        """(K,)"""
        losses = self.slack(self.x, self.sides).square().sum(dim=0)
        return self.weight.square().sum(dim=1) / 2 + self.c * losses

    def _stepped(self, way: Tensor) -> HingeMachines:
        """Along `way`, each machine by the largest of 1, 1/2, 1/4, ... that lowers what it minimises."""
        length = torch.ones(len(way), 1, dtype=way.dtype, device=way.device)
        now = self._value()
        for _ in range(20):
            then = HingeMachines(self.weight + length * way, self.x, self.sides, self.c)
            worse = then._value() > now
            if not bool(worse.any()):
                return then
            length = torch.where(worse[:, None], length / 2, length)
        return then


def with_bias(x: Tensor) -> Tensor:
    """(N, D + 1) rows with a last column of ones."""
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def sides_of(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """(N, K) 1 for a row's own class, -1 for the others."""
    return 2 * torch.nn.functional.one_hot(y, classes).to(dtype) - 1
