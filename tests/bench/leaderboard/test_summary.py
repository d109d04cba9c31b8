"""Which defence holds best: numbers worked out by hand, and no claim that the repetitions do not carry."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import t as student

from made_records import evasion, realistic, record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.contest import Score, best_first, contest
from sparring.leaderboard.headline import headline
from sparring.leaderboard.labels import Names
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.page import page
from sparring.leaderboard.statistic import paired_interval, t_quantile
from sparring.leaderboard.summary import SummaryRow, summary
from sparring.leaderboard.terminal import show
from sparring.leaderboard.wording import verdict
from sparring.record import Failed, NotApplicable, Record
from sparring.stage import FailureKind

FAILED = Failed(kind=FailureKind.ERROR, stage="perturb", error="ValueError: x", traceback="")


def only_row(*records: Record) -> SummaryRow:
    (row,) = summary(aggregate(records)).rows
    return row


def told(values: dict[str, list[float]], lower: bool = False) -> str:
    scores = {name: Score(dict(enumerate(found))) for name, found in values.items()}
    return "".join(verdict(contest(scores, lower), Names().defence))


@pytest.mark.parametrize("degrees", [1, 2, 5, 10, 11, 12, 20, 30, 100, 10_000])
def test_quantile_of_student_agrees_with_scipy(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(student.ppf(0.975, degrees), abs=5e-3)


def test_paired_interval_is_that_of_the_differences() -> None:
    # differences 1, 2, 3: mean 2, deviation 1, half width 4.3027 / sqrt(3)
    assert paired_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.48415, 2 + 2.48415), abs=1e-4)
    assert paired_interval([1.0]) is None


def test_best_defence_leads_where_every_repetition_says_so() -> None:
    found = told({"none": [0.03, 0.05, 0.04], "at": [0.30, 0.32, 0.31], "jpeg": [0.05, 0.06, 0.07]})
    # differences to jpeg .25, .26, .24: mean .25, deviation .01, half width .0248
    assert found == "at, 25.0 points (22.5 to 27.5) before jpeg"


def test_what_overlaps_is_not_called_better() -> None:
    # differences .2, 0, -.14: mean .02, deviation .1709, half width .4245
    found = told({"none": [0.9, 0.8, 0.7], "at": [0.7, 0.8, 0.84]})
    assert found == "no defence, not told apart from at: 2.0 points (−40.4 to 44.4)"


def test_one_repetition_gives_no_interval() -> None:
    assert told({"a": [0.5], "b": [0.4]}) == "a, 10.0 points before b (no interval: one repetition)"


def test_lowest_is_best_for_attack_success() -> None:
    assert told({"a": [0.9, 0.91], "b": [0.1, 0.11]}, lower=True) == "b, 80.0 points (80.0 to 80.0) before a"


def test_interval_stays_within_what_shares_can_differ_by() -> None:
    assert "(−100.0 to 100.0)" in told({"a": [0.0, 1.0], "b": [0.9, 0.0]})


def test_where_some_defences_met_a_few_attacks_only_all_are_compared_over_these() -> None:
    """As where every attack meets two defences, and every defence two attacks. By hand: after both common attacks none
    keeps no image, at 1 of 3, jpeg 2 of 3, blur 1 of 3; cw fells what at had left."""
    fallen = {
        "none": {"fgsm": (False, False, True), "pgd": (False, False, False), "cw": (False, False, False)},
        "at": {"fgsm": (True, True, False), "pgd": (True, False, True), "cw": (False, True, True)},
        "jpeg": {"fgsm": (True, True, True), "pgd": (True, True, False)},
        "blur": {"fgsm": (True, False, True), "pgd": (True, True, False)},
    }
    made = [
        evasion(attack, defence, repetition, *left)
        for defence, attacks in fallen.items()
        for attack, left in attacks.items()
        for repetition in range(2)
    ]
    row = only_row(*made)
    assert row.attacks == 3
    assert {name: score.note for name, score in row.robust.scores.items()} == {"none": "", "at": ""}
    assert row.clean_below("jpeg") is None  # stands below its worst case over the common attacks
    common = row.common
    assert common is not None
    assert common.attacks == 2
    assert {name: round(3 * score.statistic.mean) for name, score in common.robust.scores.items()} == {
        "none": 0,
        "at": 1,
        "jpeg": 2,
        "blur": 1,
    }
    assert common.robust.best == "jpeg"
    assert set(common.robust.fair) == {"none", "at", "jpeg", "blur"}
    board = aggregate(made)
    for text in (markdown(board), page(board)):
        assert "the 2 attacks that most defences met" in text
    assert any("over the 2 attacks that most defences met" in sentence.text for sentence in headline(board))


def test_the_best_come_first_by_how_far_they_are_behind_and_who_was_not_compared_last() -> None:
    """By hand: a is 0.1 and 0 behind, b 0 and 0.3, c (in the second only) 0.1; d met other attacks, e is nowhere."""
    first = contest({"a": Score({0: 0.8}), "b": Score({0: 0.9}), "d": Score({0: 1.0}, "1 of 9 attacks")})
    second = contest({"a": Score({0: 0.1}), "b": Score({0: 0.4}), "c": Score({0: 0.2})}, lower=True)
    assert best_first("edcba", [first, second]) == ("a", "c", "b", "e", "d")


def test_where_nobody_met_all_attacks_only_those_that_met_as_many_are_rivals() -> None:
    few, many = {0: 0.9, 1: 0.9}, {0: 0.4, 1: 0.5}
    found = contest(
        {
            "vote": Score(few, "1 of 9 attacks"),
            "at": Score(many, "7 of 9 attacks"),
            "jpeg": Score({0: 0.1, 1: 0.2}, "7 of 9 attacks"),
        }
    )
    assert found.best == "at"
    assert set(found.fair) == {"at", "jpeg"}
    assert "vote" not in found.ranks


def test_where_all_defences_met_all_attacks_nothing_is_said_twice() -> None:
    made = [evasion(attack, defence, 0, True, False) for attack in ("fgsm", "pgd") for defence in ("none", "at")]
    assert only_row(*made).common is None


def test_defence_that_faced_fewer_attacks_is_noted_and_not_compared() -> None:
    gone = NotApplicable(reasons=["pgd needs gradients; cnn behind vote offers decisions"])
    row = only_row(
        evasion("fgsm", "none", 0, True, False, False),
        evasion("pgd", "none", 0, True, True, False),
        evasion("fgsm", "vote", 0, True, True, True),
        record("pgd", "vote", outcome=gone, threat={"when": "inference", "goal": "evasion"}),
    )
    assert row.attacks == 2
    assert row.robust.scores["vote"].note == "1 of 2 attacks"
    assert row.robust.best == "none"


def test_missing_repetitions_stand_beside_the_rank() -> None:
    row = only_row(
        *(evasion("pgd", "none", r, True, False, False) for r in range(3)),
        *(evasion("pgd", "at", r, True, True, True) for r in range(2)),
        record("pgd", "at", 2, FAILED, threat={"when": "inference", "goal": "evasion"}),
    )
    found = row.robust.scores["at"]
    assert (found.note, found.remark) == ("", "2 of 3 repetitions")
    assert row.robust.best == "at", "what both have is compared"
    assert row.robust.scores["none"].remark == ""


def test_guard_attacked_obliviously_only_is_noted_and_not_compared() -> None:
    row = only_row(evasion("pgd", "none", 0, True, False), evasion("pgd", "jpeg@oblivious", 0, True, True))
    assert row.robust.scores["jpeg"].note == "oblivious attacks only"
    assert row.robust.best == "none"


def test_guard_counts_with_the_worse_of_both_ways() -> None:
    row = only_row(
        evasion("pgd", "jpeg@oblivious", 0, True, True, True, False),
        evasion("pgd", "jpeg@adaptive", 0, False, False, True, True),
        evasion("pgd", "none", 0, True, False, False, False),
    )
    assert row.attacks == 1
    assert row.robust.scores["jpeg"].statistic.mean == 0.25
    assert row.robust.scores["jpeg"].note == ""


def test_poisoning_shows_the_least_accuracy_and_the_highest_success_of_each_repetition() -> None:
    flip, pixel = ({"when": "training", "goal": "availability", "poison_fraction": f} for f in (0.1, 0.2))
    door = {"when": "training", "goal": "backdoor"}
    made = [
        record(attack, "none", r, scored({"clean-accuracy": accuracy}), threat=threat)
        for attack, threat, values in (("flip", flip, (0.9, 0.7)), ("pixel", pixel, (0.8, 0.75)))
        for r, accuracy in enumerate(values)
    ]
    made += [
        record(f"door{i}", "none", 0, scored({"clean-accuracy": 0.1, "asr": asr}), threat=door)
        for i, asr in enumerate((0.2, 0.6))
    ]
    row = only_row(*made)
    assert row.poisoned.scores["none"].values == {0: 0.8, 1: 0.7}
    assert row.asr.scores["none"].values == {0: 0.6}
    assert (row.poisons, row.triggers) == (2, 2)


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1))
def test_best_is_never_below_another(values: dict[str, list[float]]) -> None:
    scores = {name: Score(dict(enumerate(found))) for name, found in values.items()}
    found = contest(scores)
    assert found.best is not None
    assert scores[found.best].statistic.mean == max(score.statistic.mean for score in scores.values())
    assert found.best in found.level
    assert found.lead is None or found.lead.mean >= -1e-12  # the mean of differences rounds otherwise


def test_every_rendering_answers_the_question_in_the_same_words() -> None:
    board = aggregate(realistic(), title="Digits")
    best, how = verdict(summary(board).rows[0].robust, board.names.defence)
    console = Console(width=200, file=io.StringIO())
    show(board, console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert best + how in printed
    assert f"**{best}**{how}" in markdown(board).replace("\\", "")
    assert f"<b>{best}</b>{how}" in page(board).replace("<wbr>", "")
    assert printed.index("SUMMARY") > printed.index("random-forest")
    text = markdown(board)
    assert text.index("Which defence holds best?") < text.index("## digits · cnn")


def poisoned(attack: str, defence: str, repetition: int, accuracy: float) -> Record:
    threat = {"goal": "availability"}
    outcome = scored({"clean-accuracy": accuracy})
    return record(attack, defence, repetition=repetition, when="training", threat=threat, outcome=outcome)


def test_the_poison_that_does_most_harm_is_told_against_the_next() -> None:
    accuracies = {"pixel": [0.30, 0.32, 0.31], "noise": [0.55, 0.58, 0.55], "flip": [0.9, 0.9, 0.9]}
    records = [
        poisoned(attack, defence, repetition, value if defence == "none" else 0.01)
        for attack, values in accuracies.items()
        for repetition, value in enumerate(values)
        for defence in ("none", "filter")
    ]
    board = aggregate(records)
    harm = summary(board).rows[0].harm
    # differences .25, .26, .24: what a defence leaves does not count
    assert "".join(verdict(harm, board.names.attack)) == "pixel, 25.0 points (22.5 to 27.5) before noise"
    assert summary(board).poisoners == ("flip", "noise", "pixel")
    for text in (markdown(board), page(board)):
        assert "25.0 points (22.5 to 27.5) before noise" in text


def test_a_poison_without_all_repetitions_is_not_compared() -> None:
    records = [poisoned(attack, "none", repetition, 0.5) for attack in ("a", "b") for repetition in range(2)]
    unmade = NotApplicable(reasons=["no"])
    threat = {"goal": "availability"}
    records += [poisoned("c", "none", 0, 0.1), record("c", "none", 1, unmade, when="training", threat=threat)]
    row = only_row(*records)
    assert row.harm.best in ("a", "b")
    assert row.harm.scores["c"].note == "1 of 2"


def test_board_of_one_victim_prints_no_summary_and_one_defence_has_none_at_all() -> None:
    board = aggregate(realistic(("cnn",)))
    console = Console(width=200, file=io.StringIO())
    show(board, console)
    assert isinstance(console.file, io.StringIO)
    assert "SUMMARY" not in console.file.getvalue()
    alone = aggregate([record(), evasion("pgd", "none", 0, True)])
    assert "holds best" not in markdown(alone) + page(alone)


def backdoor(attack: str, defence: str, repetition: int, success: float) -> Record:
    outcome = scored({"clean-accuracy": 0.9, "asr": success})
    return record(attack, defence, repetition=repetition, when="training", threat={"goal": "backdoor"}, outcome=outcome)


def test_backdoors_are_compared_over_those_that_most_defences_met_and_controls_do_not_compete() -> None:
    """By hand: of both common ones none lets 1.0 through, strip 0.5, prune 0.8, the oracle 0; none alone met dba."""
    success = {
        "none": {"badnets": 1.0, "warped": 0.9, "dba": 1.0},
        "strip": {"badnets": 0.1, "warped": 0.5},
        "prune": {"badnets": 0.8, "warped": 0.2},
        "oracle": {"badnets": 0.0, "warped": 0.0},
    }
    made = [
        backdoor(attack, defence, repetition, value + 0.01 * repetition * (value < 1))
        for defence, attacks in success.items()
        for attack, value in attacks.items()
        for repetition in range(3)
    ]
    board = aggregate(made, controls=["oracle"])
    row = summary(board).rows[0]
    assert dict(row.asr.scores).keys() == {"none"}, "who met more than the common ones"
    assert row.trained is not None
    assert row.trained.triggers == 2
    assert row.trained.asr.best == "strip"
    assert row.trained.asr.scores["oracle"].note == "control"
    assert summary(board).by_cleanliness == ("strip", "prune", "none", "oracle")
    for text in (markdown(board), page(board)):
        assert "the 2 backdoors that most defences met" in text
    (told,) = headline(board)
    assert told.best == "strip"
    assert "oracle" not in told.text
    assert "over the 2 backdoors that most defences met" in told.text
    assert summary(aggregate(made)).rows[0].trained.asr.best == "oracle", "unless the suite says that it is a control"
