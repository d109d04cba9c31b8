"""What is behind a cell: its interval, and its distance from the twins."""

from __future__ import annotations

import pytest

from made_records import evasion, record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.comparison import Compared, Twins
from sparring.leaderboard.statistic import Trials, paired_interval
from sparring.leaderboard.table import Board


def compared(board: Board, attack: str, defence: str) -> dict[str, Compared]:
    (cell,) = (cell for cell in board.cells if (cell.attack, cell.defence) == (attack, defence))
    return {found.against: found for found in Twins(board).compared(cell)}


def accuracies(attack: str, defence: str, *values: float) -> list:
    name = "clean-accuracy" if attack == "none" else "robust-accuracy"
    threat = {} if attack == "none" else {"when": "inference", "goal": "evasion"}
    return [record(attack, defence, r, scored({name: value}), threat=threat) for r, value in enumerate(values)]


def test_differences_are_paired_by_repetition() -> None:
    board = aggregate(
        [
            *accuracies("none", "jpeg", 0.9, 0.8, 0.7),
            *accuracies("pgd", "none", 0.1, 0.2, 0.3),
            *accuracies("pgd", "jpeg@adaptive", 0.31, 0.42, 0.53),
        ]
    )
    found = compared(board, "pgd", "jpeg@adaptive")
    assert found[""].interval == paired_interval([0.31, 0.42, 0.53])
    assert found["no defence"].mean == pytest.approx(0.22)
    assert found["no defence"].interval == pytest.approx(paired_interval([0.21, 0.22, 0.23]))
    assert found["no attack"].mean == pytest.approx(-0.38)
    assert set(compared(board, "none", "jpeg")) == {""}


def test_one_repetition_has_the_interval_of_its_images() -> None:
    found = compared(aggregate([evasion("pgd", "none", 0, *([True] * 3), *([False] * 7))]), "pgd", "none")
    assert found[""].interval == Trials(3, 10).interval
    assert "no attack" not in found, "there is no such record"


def test_no_interval_is_made_up() -> None:
    threat = {"when": "training", "goal": "backdoor"}
    board = aggregate([record("badnets", outcome=scored({"clean-accuracy": 0.9, "asr": 0.5}), threat=threat)])
    assert compared(board, "badnets", "none")[""].interval is None
