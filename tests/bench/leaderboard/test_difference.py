"""What changed between two states of a board: told apart from chance, in a review that hostile names cannot break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_records import record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.difference import Change, Difference, differences, picture_differences
from sparring.leaderboard.markdown_difference import markdown_difference
from sparring.leaderboard.table import Board
from sparring.pictures import picture

METRICS = {"clean-accuracy": ("", "higher", "%"), "asr": ("", "lower", "%")}


def board(values: dict[str, list[float]], metric: str = "clean-accuracy", samples: int = 0) -> Board:
    confusion = [[samples, 0], [0, 0]]
    records = [
        record(
            attack,
            repetition=repetition,
            when="training",
            threat={"goal": "backdoor"} if metric == "asr" else None,
            outcome=scored({metric: value}).model_copy(update={"confusion": confusion}),
        )
        for attack, found in values.items()
        for repetition, value in enumerate(found)
    ]
    return aggregate(records, metrics=METRICS)


def changes(before: Board, after: Board) -> dict[str, Change]:
    return {line.place[2]: line.change for line in differences(before, after)}


def test_each_kind_of_change() -> None:
    before = board({"a": [0.5, 0.5, 0.5], "b": [0.5, 0.6, 0.7], "c": [0.8, 0.8, 0.8], "d": [0.5], "gone": [0.1]})
    after = board({"a": [0.5, 0.5, 0.5], "b": [0.6, 0.5, 0.7], "c": [0.7, 0.71, 0.72], "d": [0.5], "more": [0.2]})
    assert changes(before, after) == {
        "a": Change.SAME,
        "b": Change.NOISE,
        "c": Change.WORSE,
        "d": Change.SAME,
        "gone": Change.LOST,
        "more": Change.NEW,
    }
    assert changes(after, before)["c"] is Change.BETTER


def test_less_success_of_an_attack_is_better() -> None:
    before, after = board({"a": [0.9, 0.9]}, "asr"), board({"a": [0.2, 0.21]}, "asr")
    assert changes(before, after) == {"a": Change.BETTER}


def test_repetitions_are_paired_and_others_do_not_count() -> None:
    # a half better in each pair, though the spread between repetitions is larger
    before, after = board({"a": [0.1, 0.5, 0.9]}), board({"a": [0.15, 0.55, 0.95, 0.0]})
    (line,) = differences(before, after)
    assert line.change is Change.BETTER
    assert line.shift == pytest.approx(0.05)


def test_a_single_repetition_is_judged_by_the_number_of_images() -> None:
    # deviation of the difference: sqrt(2 * .25 / n), 5 points of 100 and 0.5 of 10,000 images
    for samples, change in ((100, Change.NOISE), (10_000, Change.WORSE), (0, Change.WORSE)):
        before, after = board({"a": [0.52]}, samples=samples), board({"a": [0.48]}, samples=samples)
        (line,) = differences(before, after)
        assert line.change is change, samples
    assert line.interval is None, "of no images nothing is known"


def test_boards_without_a_counterpart_are_new_or_lost() -> None:
    found = board({"a": [0.5]})
    assert changes(Board(title=""), found) == {"a": Change.NEW}
    assert changes(found, Board(title="")) == {"a": Change.LOST}


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.floats(0, 1), min_size=1, max_size=4)))
def test_a_board_does_not_differ_from_itself(values: dict[str, list[float]]) -> None:
    assert set(changes(board(values), board(values)).values()) <= {Change.SAME}


@given(*[st.lists(st.floats(0, 1), min_size=3, max_size=3)] * 2)
def test_what_is_better_one_way_is_worse_the_other(one: list[float], two: list[float]) -> None:
    opposite = {Change.BETTER: Change.WORSE, Change.WORSE: Change.BETTER}
    there = changes(board({"a": one}), board({"a": two}))["a"]
    assert changes(board({"a": two}), board({"a": one}))["a"] is opposite.get(there, there)


def with_pictures(found: Board, **contents: bytes) -> Board:
    """`found` with a picture of the first repetition of each of these attacks."""
    made = {}
    for attack, content in contents.items():
        cell = f"digits/cnn/{attack}/none/r0"
        made[cell] = picture(cell, "0" * 64, content, "Rows: clean; attacked.")
    return replace(found, pictures=made)


def test_pictures_that_came_changed_or_went_are_listed_and_fail_nothing() -> None:
    before = with_pictures(board({"a": [0.5], "b": [0.5], "c": [0.5]}), a=b"1", b=b"2", c=b"3")
    after = with_pictures(board({"a": [0.5], "b": [0.5], "c": [0.5], "d": [0.5]}), a=b"1", b=b"other", d=b"4")
    found = picture_differences(before, after)
    assert [(line.place[2], line.repetition, line.what) for line in found] == [
        ("b", 0, "drawn anew"),
        ("d", 0, "new"),
        ("c", 0, "gone"),
    ]
    text = markdown_difference("A board", before, after, [], found)
    assert "### Pictures" in text
    assert "| `digits` | `cnn` | `b` | `none` | 0 | drawn anew |" in text
    assert picture_differences(after, after) == []


def text_of(before: Board, after: Board) -> str:
    found: list[Difference] = differences(before, after)
    return markdown_difference("A board", before, after, found)


def test_the_review_has_a_table_for_each_kind_and_counts_the_rest() -> None:
    before = board({"a": [0.5, 0.5], "c": [0.8, 0.8], "gone": [0.1]})
    after = board({"a": [0.5, 0.5], "c": [0.7, 0.71], "more": [0.2]})
    text = text_of(before, after)
    assert text.splitlines()[:3] == ["## A board", "", "1 new, 1 lost, 1 worse, 1 as it was."]
    assert text.index("### Worse for the defender") < text.index("### Lost") < text.index("### New")
    assert (
        "| `digits` | `cnn` | `c` | `none` | clean-accuracy | 80.0 ± 0.0 | 70.5 ± 0.7 | −9.5 (−15.9 to −3.1) |" in text
    )
    assert text_of(after, after) == "## A board\n\n3 as it was.\n"


def test_hostile_names_stay_in_their_cells() -> None:
    text = text_of(Board(title=""), board({"<script>alert(1)</script>|`x`\n## y": [0.5]}))
    assert not [line for line in text.splitlines() if line.startswith("## y")]
    assert all(line.count("|") - line.count("\\|") == 9 for line in text.splitlines() if line.startswith("| "))
