"""Defences that are known to hide gradients and do nothing else end with a warning, from a real run."""

from __future__ import annotations

import pytest
from cell_bench import DIGITS, Board, CellBench

from sparring.leaderboard import table
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.wording import warned_cells

PLUGINS = "masking_plugins"
MASKED = {"zero-gradients", "noise-as-good", "black-box-beats-white-box"}
METRICS = ("clean-accuracy", "robust-accuracy", "asr", "forward-queries", "gradient-queries")
ATTACKS = ["none", "uniform-noise[eps=0.2]", "fgsm[eps=0.2]", "pgd[eps=0.2,steps=10]"]


@pytest.fixture(scope="module")
def board(bench: CellBench) -> Board:
    defences = ["none", "feature-squeezing[bit_depth=1,window=1]", "hard-levels", "saturated"]
    return bench.run(["logistic[epochs=10]"], ATTACKS, defences, [DIGITS], repetitions=3, metrics=METRICS)


def warned(board: Board) -> dict[str, set[str]]:
    """Warning -> labels of the defences that it is about."""
    found = aggregate(board.records.values())
    told: dict[str, list[table.TableCell]] = {identifier: cells for identifier, _, cells in warned_cells(found)}
    return {identifier: {cell.defence for cell in cells} for identifier, cells in told.items()}


def test_rounding_without_bpda_is_flagged(board: Board) -> None:
    flagged = warned(board)
    assert "hard-levels@adaptive" in flagged["zero-gradients"], "one step along no gradient goes nowhere"
    assert "hard-levels@adaptive" in flagged["noise-as-good"], "what is left of many is the random start"


def test_a_saturated_softmax_is_flagged(board: Board) -> None:
    assert "saturated@adaptive" in warned(board)["zero-gradients"]


def test_the_same_rounding_attacked_with_bpda_is_not(board: Board) -> None:
    honest = {"none", "feature-squeezing[bit_depth=1,window=1]@adaptive"}
    assert not honest & {label for name, labels in warned(board).items() if name in MASKED for label in labels}


def test_no_real_defence_here_is_told_to_be_random(board: Board) -> None:
    assert "randomised-predictions" not in warned(board)
