"""Limited-memory BFGS within a box, for a batch of independent problems at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Objective = Callable[["Tensor", "Tensor"], "tuple[Tensor, Tensor] | None"]
"""(points (M, C, H, W), which of the problems (M,)) -> values (M,) and gradients; `None` when nothing more is paid
for."""

HALVINGS = 12
SUFFICIENT = 1e-4
"""Armijo's constant."""


@dataclass
class Memory:
    """The last pairs of steps and changes of the gradient, and the inverse Hessian that they stand for."""

    size: int
    pairs: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Pairs without curvature (N, D) are kept as zeros, which changes nothing for their problem."""
        curvature = (step * change).sum(dim=1, keepdim=True)
        curved = curvature > 1e-10 * change.square().sum(dim=1, keepdim=True)
        inverse = (1 / curvature).where(curved, curvature.new_zeros(()))
        self.pairs = [*self.pairs, (step * curved, change * curved, inverse)][-self.size :]

    def cut(self, rows: Tensor) -> None:
        self.pairs = [(step[rows], change[rows], inverse[rows]) for step, change, inverse in self.pairs]

    def times(self, gradient: Tensor) -> Tensor:
        """The inverse Hessian times `gradient` (N, D): two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        direction, weights = gradient.clone(), []
        for step, change, inverse in reversed(self.pairs):
            weight = inverse * (step * direction).sum(dim=1, keepdim=True)
            direction -= weight * change
            weights.append(weight)
        direction *= self._scale(gradient)
        for (step, change, inverse), weight in zip(self.pairs, reversed(weights), strict=True):
            direction += (weight - inverse * (change * direction).sum(dim=1, keepdim=True)) * step
        return direction

    def _scale(self, gradient: Tensor) -> Tensor:
        """Curvature along the newest step that has any; else a first step of length 1 at most."""
        scale: Tensor = 1 / gradient.norm(dim=1, keepdim=True).clamp(min=1.0)
        for _, change, inverse in self.pairs:
            square = change.square().sum(dim=1, keepdim=True)
            scale = scale.where(square == 0, 1 / (inverse * square).clamp(min=1e-30))
        return scale


def minimise(
    objective: Objective,
    start: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    steps: int,
    memory: int = 8,
    tolerance: float = 1e-5,
) -> Tensor:
    """Local minima (N, C, H, W) of N independent problems within [low, high], from `start`.

    Quasi-Newton directions among the coordinates that are free to move (Bertsekas 1982's two-metric projection), and
    backtracking along the projected ray. A problem leaves the batch when its value falls by less than `tolerance` of
    itself, or no step lowers it.
    """
    import torch

    best, rows = start.clone(), torch.arange(len(start), device=start.device)
    seen = objective(start, rows)
    if seen is None or len(start) == 0:
        return best
    x, low, high, (value, gradient) = start.flatten(1), low.flatten(1), high.flatten(1), (seen[0], seen[1].flatten(1))
    kept = Memory(memory)
    for _ in range(steps):
        free = ~((x <= low) & (gradient > 0) | (x >= high) & (gradient < 0))
        steepest = -gradient * free
        direction = -kept.times(-steepest) * free
        uphill = (direction * gradient).sum(dim=1, keepdim=True) >= 0
        direction = steepest.where(uphill, direction)
        moved = _line_search(objective, rows, start.shape[1:], (x, value, gradient), direction, (low, high))
        if moved is None:
            break
        new_x, new_value, new_gradient = moved
        best[rows] = new_x.view(-1, *start.shape[1:])
        kept.add(new_x - x, new_gradient - gradient)
        going = (value - new_value > tolerance * value.abs().clamp(min=1e-8)).nonzero().flatten()
        if len(going) == 0:
            break
        rows, low, high = rows[going], low[going], high[going]
        x, value, gradient = new_x[going], new_value[going], new_gradient[going]
        kept.cut(going)
    return best


def _line_search(
    objective: Objective,
    rows: Tensor,
    shape: tuple[int, ...],
    at: tuple[Tensor, Tensor, Tensor],
    direction: Tensor,
    box: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Points, values and gradients after the longest of the steps 1, 1/2, 1/4, ... that lowers each value enough;
    where none does, what was there. `None` when the first trial is not paid for."""
    import torch

    (x, value, gradient), (low, high) = at, box
    new_x, new_value, new_gradient = x.clone(), value.clone(), gradient.clone()
    trying, length = torch.arange(len(x), device=x.device), 1.0
    for halving in range(HALVINGS):
        there = (x[trying] + length * direction[trying]).clamp(low[trying], high[trying])
        seen = objective(there.view(-1, *shape), rows[trying])
        if seen is None:
            return None if halving == 0 else (new_x, new_value, new_gradient)
        promised = (gradient[trying] * (there - x[trying])).sum(dim=1)
        lower = seen[0] <= value[trying] + SUFFICIENT * promised
        done = trying[lower]
        new_x[done], new_value[done], new_gradient[done] = there[lower], seen[0][lower], seen[1].flatten(1)[lower]
        trying, length = trying[~lower], length / 2
        if len(trying) == 0:
            break
    return new_x, new_value, new_gradient
