"""Attacks whose result is the smallest distortion, under a threat model with and without an epsilon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.threat import Budget, Norm

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.threat import ThreatModel


def limit(threat: ThreatModel) -> float | None:
    """The largest distortion that counts; `None` where the budget is minimal, and distortion the result.

    Raises:
        ValueError: the threat model is stated in another norm than L2.
    """
    if threat.norm not in (None, Norm.L2):
        raise ValueError(f"this attack is minimal in l2; the threat model says {threat.norm}")
    return None if threat.budget is Budget.MINIMAL else threat.epsilon


def within_limit(x_adv: Tensor, x: Tensor, epsilon: float | None) -> Tensor:
    """`x_adv` (N, C, H, W), and the clean image wherever the example lies further than `epsilon` from it in L2.

    A minimal attack knows nothing of epsilon: an image that needs more has withstood, and is left as it was.
    """
    if epsilon is None:
        return x_adv
    near = distances(x_adv, x) <= epsilon
    return x_adv.where(near.view(-1, 1, 1, 1), x)


def distances(x_adv: Tensor, x: Tensor) -> Tensor:
    """(N,) L2 distances in double precision, as the judge measures them."""
    lengths: Tensor = (x_adv.double() - x.double()).flatten(1).norm(dim=1)
    return lengths
