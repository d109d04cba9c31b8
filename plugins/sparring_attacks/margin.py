"""The margin by which an aim is missed: the loss that penalty and score-based attacks lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparring_attacks.aim import Aim


def margin(scores: Tensor, aim: Aim) -> Tensor:
    """(N,) negative exactly where the aim is reached and no other class ties; differentiable in `scores`.

    The largest score of another class against that of the aim's label: f6 of Carlini & Wagner 2017, section V.A, before
    its maximum with -kappa is taken. It needs no probabilities: of a softmax network, differences of logits are those
    of log-probabilities, which Chen et al. 2017 (ZOO, eq. 4) take; margins of an SVM and votes of a forest serve too.

    Args:
        scores: (N, K), K at least 2.
        aim: for the same N images.
    """
    at_label = scores.gather(1, aim.labels[:, None]).squeeze(1)
    others = scores.scatter(1, aim.labels[:, None], float("-inf")).amax(dim=1)
    return others - at_label if aim.targeted else at_label - others
