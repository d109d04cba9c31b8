"""What the board says in short."""

from __future__ import annotations

from made_records import record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.headline import Sentence, headline
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.page import page
from sparring.record import Record, Samples, pack_bits, ranges


def attacked(defence: str, victim: str, *shares: float) -> list[Record]:
    """PGD leaves this share of a hundred images standing, in each repetition."""
    import numpy as np

    made = []
    for repetition, share in enumerate(shares):
        after = np.arange(100) < round(100 * share)
        samples = Samples(
            indices=ranges(np.arange(100)),
            clean_correct=pack_bits(np.ones(100, dtype=bool)),
            attacked_correct=pack_bits(after),
        )
        outcome = scored({"robust-accuracy": share}, samples=samples)
        threat = {"when": "inference", "goal": "evasion"}
        made.append(record("pgd", defence, repetition, outcome, victim=victim, threat=threat))
    return made


def said(*records: list[Record]) -> list[Sentence]:
    return headline(aggregate([one for part in records for one in part]))


def test_who_is_surely_best_by_how_much() -> None:
    (told,) = said(
        attacked("none", "cnn", 0.10, 0.11, 0.12),
        attacked("jpeg", "cnn", 0.30, 0.31, 0.32),
        attacked("at", "cnn", 0.50, 0.52, 0.51),
    )
    assert told.best == "at"
    assert "robust accuracy in the worst case 51.0 %, undefended 11.0 %; 20.0 points before jpeg" in told.text
    # differences .20, .21, .19: mean .20, deviation .01, half width 4.3027 * .01 / sqrt(3)
    assert told.text.endswith(", beyond chance (95 %: 17.5 to 22.5 points).")


def test_where_nothing_surely_helps_nobody_is_named_best() -> None:
    (told,) = said(attacked("none", "cnn", 0.1, 0.5, 0.3), attacked("jpeg", "cnn", 0.4, 0.2, 0.5))
    assert told.best == ""
    assert "no defence is surely better than none" in told.text
    assert "ahead is jpeg with 36.7 %, not told apart from it (95 %: −73.2 to 86.5 points)" in told.text


def test_a_defence_that_surely_helps_is_named_though_a_shakier_one_is_ahead() -> None:
    """On average b is ahead, but in one repetition it did nothing; a is better than none in each of them."""
    (told,) = said(
        attacked("none", "cnn", 0.10, 0.11, 0.12),
        attacked("a", "cnn", 0.20, 0.21, 0.22),
        attacked("b", "cnn", 0.10, 0.90, 0.95),
    )
    assert told.best == ""
    assert told.text.startswith(
        "On cnn surely better than none: a; robust accuracy in the worst case 21.0 %, undefended 11.0 %; "
        "ahead is b with 65.0 %, not told apart from a (95 %: "
    )


def test_one_repetition_claims_no_order() -> None:
    (told,) = said(attacked("none", "cnn", 0.1), attacked("jpeg", "cnn", 0.4))
    assert told.best == ""
    assert told.text.endswith("in one repetition, which claims no order.")


def test_victims_that_say_the_same_share_a_sentence() -> None:
    told = said(
        *(attacked("none", victim, 0.10, 0.11, 0.12) for victim in ("cnn", "mlp")),
        *(attacked("at", victim, 0.50, 0.52, 0.51) for victim in ("cnn", "mlp")),
        attacked("none", "svm", 0.10, 0.11, 0.12),
        attacked("at", "svm", 0.10, 0.11, 0.12),
    )
    assert [bool(sentence.best) for sentence in told] == [True, False]
    assert "on 2 of 3 victims (cnn, mlp)" in told[0].text
    assert told[0].text.endswith("40.0 points before no defence, beyond chance (95 %: 37.5 to 42.5 points).")
    assert told[1].text.startswith("On svm")


def test_both_renderings_say_it() -> None:
    board = aggregate([*attacked("none", "cnn", 0.10, 0.11, 0.12), *attacked("at", "cnn", 0.50, 0.52, 0.51)])
    (told,) = headline(board)
    assert told.text in page(board).replace("<wbr>", "").replace("&nbsp;", " ")
    assert told.text in markdown(board).replace("\\", "")
