"""Query accounts of images under a score-based attack: one account per image, never overdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring_attacks.margin import margin

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.model import MeteredModel
    from sparring_attacks.aim import Aim

ROWS_PER_CALL = 8192
"""Images that one call of the model gets at most, so that the queries of many images fit into memory."""


class QueryLedger:
    """What each of N images has spent, and when an example of it was first seen to reach the aim.

    An attack asks for those rows only that still stand, so images that are done cost nothing.

    Args:
        model: grants `SCORES`.
        aim: for all N images.
        budget: queries that one image may spend.

    Attributes:
        spent: (N,) int64, queries so far.
        succeeded_at: (N,) int64, queries spent when the aim was first reached; -1: not yet.
    """

    def __init__(self, model: MeteredModel, aim: Aim, budget: int) -> None:
        import torch

        self._model = model
        self._aim = aim
        self.budget = budget
        self.spent = torch.zeros_like(aim.labels)
        self.succeeded_at = torch.full_like(aim.labels, -1)

    def affording(self, price: int) -> Tensor:
        """(M,) rows that can pay for `price` more queries, those that have reached the aim included."""
        return (self.spent + price <= self.budget).nonzero()[:, 0]

    def standing(self, price: int) -> Tensor:
        """(M,) rows that have not reached the aim yet, and can pay for `price` more queries."""
        rows = self.affording(price)
        return rows[self.succeeded_at[rows] < 0]

    def margins(self, rows: Tensor, images: Tensor) -> Tensor:
        """(M, Q) margins of Q images (M, Q, C, H, W) for each of M rows, at one query each.

        Raises:
            ValueError: a row cannot pay for Q queries.
        """
        import torch

        asked = images.shape[1]
        self.spent[rows] += asked
        if (self.spent[rows] > self.budget).any():
            raise ValueError(f"{asked} queries are more than the rest of the budget of {self.budget} queries per image")
        flat, aim = images.flatten(0, 1), self._aim.rows(rows.repeat_interleave(asked))
        scores = torch.cat([self._model.scores(part) for part in flat.split(ROWS_PER_CALL)])
        return margin(scores, aim).view(-1, asked)

    def judge(self, rows: Tensor, images: Tensor) -> Tensor:
        """(M,) margins of one candidate (M, C, H, W) per row, at one query each; successes are noted."""
        found = self.margins(rows, images[:, None])[:, 0]
        self.note(rows, found < 0)
        return found

    def note(self, rows: Tensor, reached: Tensor) -> None:
        """Note the rows whose newest candidate reaches the aim, as (M,) bool."""
        first = rows[reached & (self.succeeded_at[rows] < 0)]
        self.succeeded_at[first] = self.spent[first]

    def report(self, ctx: Context) -> None:
        """Add the learning curve "success": the share of the images that had reached the aim after so many queries
        each. What the attack believes; the judge measures by itself."""
        found = self.succeeded_at[self.succeeded_at >= 0].unique(return_counts=True)
        done = 0
        for queries, count in zip(*(values.tolist() for values in found), strict=True):
            done += count
            ctx.curve("success", queries, done / len(self.spent))


def progress(ledger: QueryLedger, rows: Tensor, ctx: Context) -> None:
    """Say how much of their budgets the images `rows` that are being attacked have spent, and how many they are."""
    spent = int(ledger.spent[rows].max()) if len(rows) else ledger.budget
    ctx.progress(spent, ledger.budget, f"queries per image; {len(rows)} of {len(ledger.spent)} images")
