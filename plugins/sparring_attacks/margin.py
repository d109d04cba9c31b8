"""The margin of logits: how far an example is from what the attacker is after."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparring_attacks.aim import Aim


def margin(logits: Tensor, aim: Aim) -> Tensor:
    """(N,) negative where the aim is reached, differentiable in `logits` (N, K).

    Untargeted: the true label's logit minus the largest other one. Targeted: the largest other logit minus that of the
    wanted label. This is f₆ of Carlini & Wagner 2017, section V.A, before its maximum with −κ is taken.
    """
    at_label = logits.gather(1, aim.labels[:, None]).squeeze(1)
    others = logits.scatter(1, aim.labels[:, None], float("-inf")).amax(dim=1)
    return others - at_label if aim.targeted else at_label - others
