"""What is left of a query budget, where images that are finished leave theirs to the others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Allowance:
    """Model evaluations (rows, forward and gradient together) that an attack may still ask for.

    Attributes:
        left: rows; `None`: no limit.
    """

    left: int | None

    @classmethod
    def of(cls, query_budget: int | None, images: int) -> Allowance:
        """The budget of one image times `images`: the harness counts over all of them together."""
        return cls(None if query_budget is None else query_budget * images)

    def spend(self, rows: int) -> bool:
        """Whether `rows` evaluations are paid for; they are then taken off."""
        if self.left is None:
            return True
        if rows > self.left:
            return False
        self.left -= rows
        return True
