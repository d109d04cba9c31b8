"""Records to tables, against numbers worked out by hand and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_records import EVASION, evasion, realistic, record, scored, survivors
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.statistic import Statistic, Trials
from sparring.leaderboard.table import ExpectedCell, State, Table, TableCell
from sparring.leaderboard.wording import attacks_text, cell_text, coverage, facts, worst_text
from sparring.record import Failed, NotApplicable, Record, Samples
from sparring.stage import FailureKind


def only_table(*records: Record, expected: list[ExpectedCell] | None = None) -> Table:
    (table,) = aggregate(records, expected).tables
    return table


def only_cell(*records: Record) -> TableCell:
    (cell,) = only_table(*records).distinct
    return cell


def of_suite(*records: Record) -> list[ExpectedCell]:
    return [ExpectedCell.told_by(found) for found in records]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_mean_and_deviation_agree_with_numpy(values: list[float]) -> None:
    statistic = Statistic(tuple(values))
    assert statistic.mean == pytest.approx(np.mean(values), abs=1e-12)
    if len(values) > 1:
        assert statistic.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    else:
        assert statistic.std is None


def test_wilson_interval_agrees_with_published_values() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (k, n), interval in published.items():
        assert Trials(k, n).interval == pytest.approx(interval, abs=5e-5)
    assert Trials(20, 20).interval == pytest.approx((0.8389, 1), abs=5e-5)


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_interval_holds_the_rate(k: int, rest: int) -> None:
    low, high = Trials(k, k + rest).interval
    assert 0 <= low <= high <= 1
    if k + rest:
        assert low <= k / (k + rest) <= high


def test_cell_shows_mean_and_sample_deviation_over_repetitions() -> None:
    cell = only_cell(
        *(record(repetition=r, outcome=scored({"clean-accuracy": a})) for r, a in enumerate([0.9, 0.92, 0.97]))
    )
    assert cell_text(cell) == "93.0 ± 3.6"  # deviations -3, -1, 4: sqrt(26 / 2) = 3.606
    assert cell.metrics["clean-accuracy"].n == 3
    assert cell_text(only_cell(record())) == "90.0"


@pytest.mark.parametrize(
    ("threat", "text"),
    [
        ({}, "90.0"),
        ({"when": "training", "goal": "availability"}, "90.0"),
        ({"when": "training", "goal": "backdoor"}, "CA 90.0 / ASR 99.0"),
        ({"when": "training", "goal": "targeted"}, "ASR 99.0"),
        ({"when": "inference", "goal": "evasion"}, "40.0"),
        ({"when": "inference", "goal": "targeted"}, "40.0"),
        ({"when": "inference", "goal": "evasion", "budget": "minimal", "norm": "l2"}, "RA 40.0 / L2 1.250"),
    ],
)
def test_what_a_cell_shows_depends_on_what_the_attack_is_after(threat: dict[str, str], text: str) -> None:
    metrics = {"clean-accuracy": 0.9, "robust-accuracy": 0.4, "asr": 0.99, "budget-l2-mean": 1.25}
    assert cell_text(only_cell(record("x", outcome=scored(metrics), threat=threat))) == text


def test_trials_of_all_repetitions_are_pooled() -> None:
    threat = {"when": "training", "goal": "targeted"}
    outcomes = [scored({"asr": k / 10}, trials=[k, 10]) for k in (1, 2, 3)]
    cell = only_cell(*(record("poison", repetition=r, outcome=o, threat=threat) for r, o in enumerate(outcomes)))
    assert cell_text(cell) == "ASR 20.0 (6/30, 9.5–37.3)"


def test_five_states_are_told_apart_and_counted() -> None:
    failed = Failed(kind=FailureKind.KILLED, stage="fit", error="worker died")
    late = Failed(kind=FailureKind.TIMEOUT, stage="perturb", error="ran longer than 60 s")
    outcomes = [scored({"clean-accuracy": 0.5}), failed, late, NotApplicable(reasons=["needs gradients"])]
    records = [record(repetition=r, outcome=outcome) for r, outcome in enumerate(outcomes)]
    board = aggregate(records, of_suite(*records, record(repetition=4)))
    assert board.counts == dict.fromkeys(State, 1)
    (cell,) = board.cells
    assert cell_text(cell) == "50.0 (1 of 5)"
    assert [entry.said for entry in cell.entries] == [
        (),
        ("fit: worker died",),
        ("perturb: ran longer than 60 s",),
        ("needs gradients",),
        (),
    ]
    assert coverage(board) == "1 of 5 cells scored, 1 not applicable, 1 failed, 1 timed out, 1 not run"


def test_records_outside_the_suite_are_counted_and_in_no_table() -> None:
    board = aggregate([record(), record("old")], of_suite(record()))
    assert board.strays == 1
    assert [cell.attack for cell in board.cells] == ["none"]


def test_rows_follow_the_suite_with_none_first() -> None:
    cells = [record(attack, defence) for attack in ("pgd", "fgsm", "none") for defence in ("jpeg", "none", "at")]
    table = only_table(*cells, expected=of_suite(*cells))
    assert table.rows == ("none", "pgd", "fgsm")
    assert [column.label for column in table.columns] == ["none", "jpeg", "at"]


def test_rows_without_a_suite_are_in_natural_order() -> None:
    labels = ["pgd[epsilon=0.3]", "none", "pgd[epsilon=0.05]", "fgsm", "pgd[epsilon=0.1]", "pgd[epsilon=0.1,steps=9]"]
    table = only_table(*(record(label) for label in labels))
    assert list(table.rows) == [
        "none",
        "fgsm",
        "pgd[epsilon=0.05]",
        "pgd[epsilon=0.1,steps=9]",
        "pgd[epsilon=0.1]",
        "pgd[epsilon=0.3]",
    ]


def test_guard_has_two_columns_that_share_what_does_not_depend_on_knowing_it() -> None:
    table = only_table(
        record("none", "jpeg"), evasion("pgd", "jpeg@oblivious", 0, True), evasion("pgd", "jpeg@adaptive", 0, False)
    )
    assert [column.label for column in table.columns] == ["jpeg@oblivious", "jpeg@adaptive"]
    assert table.cells["none", "jpeg@oblivious"] is table.cells["none", "jpeg@adaptive"]
    assert len(table.distinct) == 3


def test_guard_has_one_column_where_no_attack_tells_the_ways_apart() -> None:
    senseless = NotApplicable(reasons=["pgd needs gradients; random-forest offers scores"])
    table = only_table(
        record("none", "jpeg"),
        record("pgd", "jpeg@oblivious", outcome=senseless, threat=EVASION),
        record("pgd", "jpeg@adaptive", outcome=senseless, threat=EVASION),
        evasion("noise", "jpeg", 0, True, False),
    )
    assert [(column.label, column.knowledge) for column in table.columns] == [("jpeg", "")]
    assert len(table.distinct) == 4  # both ways are still counted, and in table.csv
    assert cell_text(table.cells["pgd", "jpeg"]) == "–"
    assert cell_text(table.cells["none", "jpeg"]) == "90.0"


@pytest.mark.parametrize("state", ["failed", "not run"])
def test_guard_keeps_both_columns_where_an_attack_is_only_missing(state: str) -> None:
    failed = Failed(kind=FailureKind.ERROR, stage="perturb", error="x")
    ways = [record("pgd", f"jpeg@{way}", outcome=failed, threat=EVASION) for way in ("oblivious", "adaptive")]
    clean = record("none", "jpeg")
    table = only_table(clean, *(ways if state == "failed" else []), expected=of_suite(clean, *ways))
    assert [column.knowledge for column in table.columns] == ["oblivious", "adaptive"]


def test_description_is_one_line_and_hardware_that_of_scored_records() -> None:
    skipped = record("pgd", outcome=NotApplicable(reasons=["no"]))
    skipped = skipped.model_copy(update={"provenance": skipped.provenance.model_copy(update={"device": "auto"})})
    board = aggregate([record(), skipped], description="  Two\n lines. \n")
    assert board.description == "Two lines."
    assert dict(facts(board.provenances))["device"] == "cpu"
    assert dict(facts(aggregate([skipped]).provenances))["device"] == "auto"


def test_worst_case_is_per_sample_and_not_the_least_row() -> None:
    table = only_table(
        evasion("fgsm", "none", 0, True, True, False, False),
        evasion("pgd", "none", 0, True, False, True, False),
        evasion("fgsm", "none", 1, True, True, True, True),
        evasion("pgd", "none", 1, True, True, True, False),
    )
    worst = table.worst["none"]
    assert worst.statistic.values == (0.25, 0.75)
    assert worst.entered == ("fgsm × none", "pgd × none")
    assert worst_text(worst) == "50.0 ± 35.4"


def test_worst_case_of_a_guard_uses_oblivious_and_adaptive_attacks() -> None:
    table = only_table(
        evasion("pgd", "jpeg@oblivious", 0, False, True, True),
        evasion("pgd", "jpeg@adaptive", 0, True, False, True),
        evasion("noise", "jpeg", 0, True, True, True),
    )
    assert table.worst["jpeg@oblivious"] == table.worst["jpeg@adaptive"]
    assert table.worst["jpeg@adaptive"].statistic.values == (1 / 3,)
    assert attacks_text(table.worst["jpeg@adaptive"]) == "2 attacks, oblivious and adaptive"


def test_guard_attacked_in_one_way_only_where_both_are_due_does_not_count_as_attacked() -> None:
    failed = Failed(kind=FailureKind.ERROR, stage="perturb", error="x")
    broken = record("pgd", "jpeg@adaptive", outcome=failed, threat=EVASION)
    table = only_table(evasion("pgd", "jpeg@oblivious", 0, True), broken, evasion("noise", "jpeg", 0, True))
    assert attacks_text(table.worst["jpeg@oblivious"]) == "1 of 2 attacks"


def test_worst_case_leaves_out_attacks_without_a_budget_and_attacks_on_training() -> None:
    poison = record(
        "badnets", outcome=scored({"asr": 1.0}, samples=survivors(False, False)), threat={"when": "training"}
    )
    table = only_table(
        evasion("fgsm", "none", 0, True, False),
        evasion("cw", "none", 0, False, False, threat={"budget": "minimal"}),
        poison,
    )
    assert table.worst["none"].entered == ("fgsm × none",)
    assert "none" not in only_table(poison).worst


def test_worst_case_says_when_an_attack_is_missing() -> None:
    there = [evasion("fgsm", "none", 0, True, False), evasion("pgd", "none", 1, True, True)]
    broken = record("pgd", outcome=Failed(kind=FailureKind.ERROR, stage="perturb", error="x"), threat=EVASION)
    senseless = record("cw", outcome=NotApplicable(reasons=["no"]), threat=EVASION)
    table = only_table(*there, broken, senseless)
    assert worst_text(table.worst["none"]).endswith("(1 of 2 attacks)")


def test_worst_case_knows_an_attack_that_has_not_run_yet_from_its_other_cells() -> None:
    records = [evasion("fgsm", "none", 0, True), evasion("pgd", "at", 0, True)]
    expected = of_suite(*records, evasion("pgd", "none", 0, True))
    assert worst_text(only_table(*records, expected=expected).worst["none"]) == "100.0 (1 of 2 attacks)"


def test_worst_case_compares_only_the_same_test_rows() -> None:
    elsewhere = record(
        "square",
        outcome=scored({"robust-accuracy": 0.0}, samples=survivors(False, False, first_row=10)),
        threat=EVASION,
    )
    table = only_table(elsewhere, evasion("fgsm", "none", 0, True, False), evasion("pgd", "none", 0, True, True))
    assert table.worst["none"].statistic.values == (0.5,)
    assert worst_text(table.worst["none"]) == "50.0 (2 of 3 attacks)"


@given(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=5))
def test_worst_case_is_at_most_every_attack(rows: list[list[bool]]) -> None:
    records = [evasion(f"attack-{i}", "none", 0, *row) for i, row in enumerate(rows)]
    worst = only_table(*records).worst["none"].statistic.mean
    assert worst <= min(float(np.mean(row)) for row in rows) + 1e-12
    assert worst == pytest.approx(np.mean(np.all(rows, axis=0)))


def test_samples_whose_lengths_disagree_are_refused_before_anything_is_allocated() -> None:
    bits = survivors(True, False).clean_correct
    for indices in ("0-999999999999", "0-8", "5-3", "0,0", "0-1-2", "a", "-1", "1,"):
        with pytest.raises(ValueError, match=r"samples|ranges"):
            Samples(indices=indices, clean_correct=bits)
    assert Samples(indices="3,5-10", clean_correct=bits).count == 7


def test_order_of_records_does_not_matter() -> None:
    records = realistic(("cnn",))
    assert aggregate(records) == aggregate(list(reversed(records)))
