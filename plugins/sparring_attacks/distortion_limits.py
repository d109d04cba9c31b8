"""What becomes of an attack that looks for the nearest adversarial image where the threat model has an epsilon.

Such attacks have no epsilon of their own. With `budget: minimal` their result is taken as it is. With
`budget: bounded` they run in the same way, and what ends up farther than epsilon has failed: that image is left
unperturbed. (Projected onto the ball, an image next to the decision boundary falls back on the right side of it: it
would fail as well, and its distortion would hide that.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.threat import Budget, Norm

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.threat import ThreatModel


def kept_within(x_adv: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """`x_adv` (N, C, H, W) where it lies within `threat.epsilon` of `x`, else `x`; all of it without an epsilon."""
    if threat.epsilon is None or threat.budget is Budget.MINIMAL:
        return x_adv
    near = distance(x_adv, x, threat.norm or Norm.L2) <= threat.epsilon
    return x_adv.where(near.view(-1, 1, 1, 1), x)


def distance(x_adv: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """(N,) float64: how far each image moved; in L0, the pixels that changed in any channel."""
    change = (x_adv.double() - x.double()).abs()
    if norm is Norm.L0:
        return change.amax(dim=1).flatten(1).count_nonzero(dim=1).double()
    lengths: Tensor = change.flatten(1).norm(dim=1, p=2 if norm is Norm.L2 else float("inf"))
    return lengths
