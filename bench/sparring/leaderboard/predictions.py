"""What poisoned models say: poisons that work mostly make a model collapse onto a few classes."""

from __future__ import annotations

from typing import Final, NamedTuple

from sparring.leaderboard.table import Board, TableCell

NAMED: Final = 3
"""Classes that are named."""

COLLAPSED: Final = 1.5
"""A model collapsed when its most frequent answer is so many times as frequent as with equal shares."""


class Predictions(NamedTuple):
    """Of one cell, over all repetitions: the most frequent answers, as (class number, share), in falling order."""

    cell: TableCell
    shares: tuple[tuple[int, float], ...]


def predictions(board: Board) -> list[Predictions]:
    """Of the models that collapsed under an attack on the training set which wants any wrong answers; those that
    collapsed most come first."""
    poisoned = [c for c in board.cells if c.when == "training" and c.goal == "availability" and c.scored]
    found = [Predictions(cell, tuple(_shares(cell))) for cell in poisoned]
    collapsed = [one for one in found if one.shares[0][1] * _classes(one.cell) >= COLLAPSED]
    return sorted(collapsed, key=lambda one: -one.shares[0][1])


def _classes(cell: TableCell) -> int:
    return next(len(entry.scored.confusion) for entry in cell.entries if entry.scored is not None)


def _shares(cell: TableCell) -> list[tuple[int, float]]:
    confusions = [entry.scored.confusion for entry in cell.entries if entry.scored is not None]
    answers = [sum(row[k] for confusion in confusions for row in confusion) for k in range(len(confusions[0]))]
    shares = [(k, count / max(1, sum(answers))) for k, count in enumerate(answers)]
    return sorted(shares, key=lambda found: (-found[1], found[0]))[:NAMED]
