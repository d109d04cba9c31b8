"""Numbers of papers beside ours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from made_records import record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.page import page
from sparring.leaderboard.papers import Agreement, Comparison, PaperTable, PaperValue
from sparring.leaderboard.table import Board
from sparring.leaderboard.terminal import show
from sparring.record import Record

POISON = {"when": "training", "goal": "availability"}


def poisoned(attack: str, *accuracies: float, **more: str) -> list[Record]:
    return [
        record(attack, "none", r, scored({"clean-accuracy": accuracy}), threat=POISON, **more)
        for r, accuracy in enumerate(accuracies)
    ]


def table(*values: PaperValue, error: bool = True, metric: str = "clean-accuracy") -> PaperTable:
    reading = "<b>pixels</b> are set, not added"
    return PaperTable(source="Someone 2020, table 1", metric=metric, error=error, reading=reading, values=values)


def value(number: float, std: float | None = None, attack: str = "pixel", **more: str) -> PaperValue:
    parts = {"dataset": "digits", "victim": "cnn", "defence": "none"} | more
    return PaperValue(value=number, std=std, attack=attack, **parts)


def only(records: list[Record], paper: PaperTable) -> Comparison:
    (line,) = aggregate(records, papers=[paper]).papers[0].lines
    return line


@pytest.mark.parametrize(
    ("accuracies", "number", "std", "expected"),
    [
        ((0.10, 0.12, 0.14), 88.6, 1.2, Agreement.YES),  # 88 ± 2
        ((0.10, 0.12, 0.14), 91.1, 1.2, Agreement.YES),
        ((0.10, 0.12, 0.14), 91.3, 1.2, Agreement.LOWER),
        ((0.10, 0.12, 0.14), 84.7, 1.2, Agreement.HIGHER),
        ((0.1, 0.1), 90.4, None, Agreement.YES),  # nobody prints more digits than he trusts
        ((0.1, 0.1), 90.6, None, Agreement.LOWER),
        ((0.1,), 88.0, 2.0, Agreement.YES),
    ],
)
def test_numbers_agree_where_mean_and_deviation_meet(
    accuracies: tuple[float, ...], number: float, std: float | None, expected: Agreement
) -> None:
    assert only(poisoned("pixel", *accuracies), table(value(number, std))).agreement is expected


def test_the_papers_accuracy_is_not_turned_round() -> None:
    line = only(poisoned("pixel", 0.25, 0.75), table(value(50), error=False))
    assert line.ours is not None
    assert line.ours.values == (25, 75)
    assert line.difference == 0


def test_what_is_no_percentage_keeps_its_unit_and_is_not_rounded_to_points() -> None:
    lengths = (0.9, 1.0, 1.1)
    records = [
        record("lbfgs", "none", r, scored({"budget-l2-mean": length}), threat={"when": "inference", "goal": "evasion"})
        for r, length in enumerate(lengths)
    ]
    papers = [table(value(number, attack="lbfgs"), error=False, metric="budget-l2-mean") for number in (1.05, 1.3)]
    board = aggregate(records, metrics={"budget-l2-mean": ("mean length", "neither", "pixels")}, papers=papers)
    near, far = (paper.lines[0] for paper in board.papers)
    assert near.ours is not None
    assert near.ours.values == lengths
    assert (near.agreement, far.agreement) == (Agreement.YES, Agreement.LOWER)
    assert "no, ours is lower by 0.3000" in markdown(board)


def test_trials_agree_where_the_paper_lies_in_their_interval() -> None:
    records = [
        record("frog", "none", r, scored({"asr": hits / 20}, trials=[hits, 20]), threat=POISON | {"goal": "targeted"})
        for r, hits in enumerate((15, 17, 16))
    ]
    inside = only(records, table(value(85, attack="frog"), error=False, metric="asr"))
    outside = only(records, table(value(53, attack="frog"), error=False, metric="asr"))
    assert inside.trials is not None
    assert (inside.trials.succeeded, inside.trials.all) == (48, 60)
    assert (inside.agreement, outside.agreement) == (Agreement.YES, Agreement.HIGHER)


def test_a_pattern_fits_every_cell_of_a_plugin_and_what_is_missing_stays_open() -> None:
    records = poisoned("pixel", 0.1) + poisoned("pixel[mask=false]", 0.2)
    board = aggregate(records, papers=[table(value(90), value(75, attack="other"))])
    labels = [(line.cell.attack if line.cell else None, line.agreement) for line in board.papers[0].lines]
    assert labels == [
        ("pixel", Agreement.YES),
        ("pixel[mask=false]", Agreement.LOWER),
        (None, Agreement.OPEN),
    ]


def shown(board: Board) -> dict[str, str]:
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    show(board, console)
    assert isinstance(console.file, io.StringIO)
    return {"markdown": markdown(board), "page": page(board), "terminal": console.file.getvalue()}


@pytest.mark.parametrize("rendering", ["markdown", "page", "terminal"])
def test_every_rendering_has_the_paper_ours_and_the_verdict(rendering: str) -> None:
    paper = table(value(88.6, 1.2), value(74.9, attack="other"))
    text = shown(aggregate(poisoned("pixel", 0.30, 0.32, 0.34), papers=[paper]))[rendering]
    for part in ("Someone 2020, table 1", "88.6 ± 1.2", "68.0 ± 2.0 (3)", "no, ours is lower by 20.6 points"):
        assert part in text
    assert "not measured" in text
    assert "<b>pixels</b>" not in text


def test_the_readme_says_what_poisoned_models_answer() -> None:
    records = [
        record("pixel", "none", 0, scored({"clean-accuracy": 0.3}, confusion=[[3, 17], [1, 19]]), threat=POISON),
        record("none", "none", 0, scored({"clean-accuracy": 0.9})),
    ]
    text = markdown(aggregate(records))
    assert "- `digits` × `cnn` × `pixel` × `none`: class 1: 90.0 %, class 0: 10.0 %" in text
    assert text.count("class 1:") == 1
