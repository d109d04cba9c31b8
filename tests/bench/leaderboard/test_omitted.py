"""What makes no sense for a victim is named once, with the reason."""

from __future__ import annotations

from made_records import EVASION, evasion, record
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.omitted import applicable
from sparring.leaderboard.table import Table
from sparring.record import NotApplicable, Record

GRADIENTS = "{} needs gradients; random-forest offers decisions, scores"
RECIPE = "adversarial-training needs recipe; random-forest offers decisions, scores"


def senseless(attack: str, defence: str, *reasons: str) -> Record:
    threat = EVASION if attack != "none" else {}
    return record(attack, defence, outcome=NotApplicable(reasons=list(reasons)), victim="random-forest", threat=threat)


def table_of(*records: Record) -> Table:
    (table,) = aggregate(records).tables
    return table


def forest() -> list[Record]:
    attacks = ("fgsm[epsilon=0.1]", "fgsm[epsilon=0.2]", "pgd[steps=9]")
    plain = [senseless(attack, "none", GRADIENTS.format(attack.partition("[")[0])) for attack in attacks]
    hard = [
        senseless(attack, "adversarial-training", GRADIENTS.format(attack.partition("[")[0]), RECIPE)
        for attack in attacks
    ]
    clean = [record(victim="random-forest"), senseless("none", "adversarial-training", RECIPE)]
    return [*clean, *plain, *hard]


def test_rows_and_columns_that_make_no_sense_become_one_sentence_grouped_by_reason() -> None:
    shown = applicable(table_of(*forest()))
    assert shown.rows == ("none",)
    assert [column.base for column in shown.columns] == ["none"]
    assert shown.omitted == (
        "Not applicable to random-forest: fgsm, pgd (need gradients; random-forest offers decisions, scores); "
        "adversarial-training (needs recipe)."
    )


def test_parameters_are_named_where_another_row_of_the_attack_makes_sense() -> None:
    kept = evasion("pgd[steps=1]", "none", 0, True, victim="random-forest")
    shown = applicable(table_of(*forest(), kept))
    assert shown.rows == ("none", "pgd[steps=1]")
    assert "fgsm, pgd[steps=9] (need gradients" in shown.omitted


def test_what_is_only_partly_not_applicable_stays() -> None:
    table = table_of(senseless("x", "none", "no"), record("x", repetition=1, victim="random-forest"))
    assert applicable(table).omitted == ""
    assert applicable(table).rows == ("x",)


def test_reasons_that_cells_do_not_share_are_all_named() -> None:
    shown = applicable(table_of(senseless("x", "none", "too slow"), senseless("x", "b", "too wide")))
    assert "x (too slow; too wide)" in shown.omitted


def test_table_in_which_nothing_makes_sense_has_neither_rows_nor_columns() -> None:
    shown = applicable(table_of(senseless("none", "none", "no")))
    assert shown.rows == shown.columns == ()
    assert shown.omitted == "Not applicable to random-forest: none (no)."
