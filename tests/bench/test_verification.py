"""Published numbers computed again: equal on the same machine, within chance on another, and nothing in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_records import record, scored
from sparring.record import NotApplicable, Record
from sparring.verification import Verdict, drawn, verified

IMAGES = 400


def made(accuracy: float, **where: object) -> Record:
    outcome = scored({"clean-accuracy": accuracy, "seconds": 3.0})
    outcome = outcome.model_copy(update={"confusion": [[IMAGES, 0], [0, 0]]})
    found = record("fgsm", outcome=outcome)
    return found.model_copy(update={"provenance": found.provenance.model_copy(update=where)})


def test_the_same_machine_must_give_the_same_number() -> None:
    assert verified(made(0.5), made(0.5)).verdict is Verdict.SAME
    answer = verified(made(0.5), made(0.5 + 1 / IMAGES))
    assert answer.verdict is Verdict.DIFFERS
    assert answer.differing == (("clean-accuracy", 0.5, 0.5 + 1 / IMAGES),)
    assert answer.elsewhere == ()


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.5, Verdict.SAME), (0.53, Verdict.AGREES), (0.6, Verdict.DIFFERS)])
def test_another_machine_may_differ_within_the_interval(accuracy: float, verdict: Verdict) -> None:
    # deviation of the difference of two shares of 400 images: 3.5 points
    answer = verified(made(0.5), made(accuracy, cpu="another"))
    assert answer.verdict is verdict
    assert answer.elsewhere[0].endswith("here another")


def test_other_versions_are_another_machine() -> None:
    answer = verified(made(0.5, versions={"torch": "2.0"}), made(0.52, versions={"torch": "2.1"}))
    assert answer.verdict is Verdict.AGREES
    assert answer.elsewhere == ("torch 2.0, here 2.1",)


def test_a_number_that_is_gone_differs_anywhere() -> None:
    gone = record("fgsm", outcome=scored({"seconds": 3.0}))
    assert verified(made(0.5), gone).verdict is Verdict.DIFFERS
    no = record("fgsm", outcome=NotApplicable(reasons=["no"]))
    assert verified(made(0.5, cpu="another"), no).verdict is Verdict.DIFFERS


def test_a_perfect_score_may_lose_an_image_elsewhere() -> None:
    assert verified(made(1.0), made(1 - 1 / IMAGES, cpu="another")).verdict is Verdict.AGREES


def test_two_honest_runs_of_one_truth_rarely_differ() -> None:
    """The interval holds what it says: simulated, 95 % of pairs agree, at any rate."""
    rng = np.random.default_rng(5)
    for truth in (0.5, 0.9, 0.99):
        shares = rng.binomial(IMAGES, truth, size=(2000, 2)) / IMAGES
        agree = [
            verified(made(float(one)), made(float(two), cpu="another")).verdict is not Verdict.DIFFERS
            for one, two in shares
        ]
        assert 0.93 <= np.mean(agree) <= 0.995, truth


@given(st.integers(0, 20), st.integers(0, 10), st.integers(0, 100))
def test_cells_are_drawn_once_and_alike_for_a_seed(count: int, sample: int, seed: int) -> None:
    records = [record(f"a{number}") for number in range(count)]
    chosen = drawn(records, sample, seed)
    assert len({found.cell.id for found in chosen}) == min(count, sample)
    assert drawn(reversed(records), sample, seed) == chosen
    assert drawn([record(outcome=NotApplicable(reasons=["no"]))], 1, seed) == []
