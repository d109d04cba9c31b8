"""Descent of the margin within a ball, along estimated gradients: the loop of the bounded score-based attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sparring.threat import Norm
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project
from sparring_attacks.query_ledger import QueryLedger, progress

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel
    from sparring.threat import ThreatModel
    from sparring_attacks.gradient_estimators import Ask

Estimate = Callable[["Ask", "Tensor", "Tensor"], "Tensor"]
"""(ask, x (M, C, H, W), losses there (M,)) to gradients (M, C, H, W)."""


class Step(Protocol):
    def __call__(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """(M, C, H, W) what is taken from the images `rows` (M,), given estimated gradients of their losses."""
        ...


@dataclass(frozen=True)
class Descent:
    """How a descent estimates, and how it steps.

    Attributes:
        estimate: gradients from `price` queries per image.
        price: queries per image and estimate.
        step: what an estimate makes of an image.
    """

    estimate: Estimate
    price: int
    step: Step


def descend(
    descent: Descent, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context
) -> Tensor:
    """(N, C, H, W) images in the ball that the threat model states, of the lowest margin that each descent has met.

    Each step costs `price` queries, and one that asks whether the aim is reached. An image is dropped when it is, or
    when its budget does not pay for another step.

    Args:
        threat: states norm, epsilon and query budget.

    Raises:
        ValueError: the threat model lacks one of them.
    """
    import torch

    norm, epsilon, budget = threat.norm, threat.epsilon, threat.query_budget
    if norm is None or epsilon is None or budget is None:
        raise ValueError(f"a descent needs a norm, an epsilon and a query budget; the threat model states: {threat}")
    if epsilon <= ROUNDING:
        return x.clone()
    ledger = QueryLedger(model, Aim.of(threat, y, aux), budget)
    current, best, lowest = x.clone(), x.clone(), torch.full((len(x),), float("inf"), device=x.device)
    rows = ledger.standing(1)

    def ask(images: Tensor) -> Tensor:
        return ledger.margins(rows, images)

    while len(rows):
        losses = ledger.judge(rows, current[rows])
        better = losses < lowest[rows]
        best[rows[better]], lowest[rows[better]] = current[rows[better]], losses[better]
        progress(ledger, rows, ctx)
        going = (losses >= 0) & (ledger.spent[rows] + descent.price + 1 <= budget)
        rows, losses = rows[going], losses[going]
        if len(rows):
            gradient = descent.estimate(ask, current[rows], losses)
            moved = current[rows] - descent.step(rows, gradient)
            current[rows] = project(moved, x[rows], norm, epsilon)
    ledger.report(ctx)
    return best


def signed(length: float) -> Step:
    """Steps of `length` in every value: steepest descent in L-infinity."""
    return lambda rows, gradient: length * gradient.sign()


def normalised(length: float) -> Step:
    """Steps of L2 length `length`: steepest descent in L2."""

    def step(rows: Tensor, gradient: Tensor) -> Tensor:
        lengths = gradient.flatten(1).norm(dim=1).clamp(min=1e-30)
        direction: Tensor = gradient / lengths[:, None, None, None]
        return length * direction

    return step


def steepest(norm: Norm, length: float) -> Step:
    """The step of `length` that lowers a linear loss the most in that norm."""
    return signed(length) if norm is Norm.LINF else normalised(length)


def with_momentum(kept: float, step: Step, x: Tensor) -> Step:
    """`step` along the running mean of estimates; `kept` is the weight of what was before.

    Args:
        x: (N, C, H, W) all images, for the size.
    """
    import torch

    mean = torch.zeros_like(x)

    def along_mean(rows: Tensor, gradient: Tensor) -> Tensor:
        mean[rows] = kept * mean[rows] + (1 - kept) * gradient
        return step(rows, mean[rows])

    return along_mean


def length_of_signs(threat: ThreatModel, x: Tensor) -> float:
    """How far a signed step that spans the ball's radius moves each value."""
    epsilon = threat.epsilon or 0.0
    return epsilon / max(1, x[0].numel()) ** 0.5 if threat.norm is Norm.L2 and len(x) else epsilon
