"""What an evasion attack is after: leave the true label, or reach a given one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparring.threat import Goal

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux
    from sparring.threat import ThreatModel


@dataclass(frozen=True, eq=False)
class Aim:
    """Labels and what is wanted of them.

    Attributes:
        labels: (N,) int64: the true labels, or, when targeted, those to be reached.
        targeted: whether the labels are to be reached; otherwise any other answer will do.
    """

    labels: Tensor
    targeted: bool

    @classmethod
    def of(cls, threat: ThreatModel, y: Tensor, aux: Aux) -> Aim:
        """The aim that the threat model states, for images with true labels `y` (N,).

        Raises:
            ValueError: the goal is `TARGETED` and `aux` names no labels.
        """
        if threat.goal is not Goal.TARGETED:
            return cls(y, targeted=False)
        if aux.goal_labels is None:
            raise ValueError("the goal is targeted, and aux.goal_labels names no labels to reach")
        return cls(aux.goal_labels.to(y.device), targeted=True)

    def rows(self, rows: Tensor | slice) -> Aim:
        """The aim for some of the images."""
        return replace(self, labels=self.labels[rows])

    def score(self, logits: Tensor) -> Tensor:
        """(N,) how good examples with these logits (N, K) are: infinite where the aim is reached, else the loss that
        the attack raises: cross-entropy at the true label, minus cross-entropy at a wanted one."""
        from torch.nn import functional as F  # noqa: N812

        at_label = logits.argmax(dim=1) == self.labels
        loss = F.cross_entropy(logits, self.labels, reduction="none")
        reached, value = (at_label, -loss) if self.targeted else (~at_label, loss)
        return value.masked_fill(reached, float("inf"))
