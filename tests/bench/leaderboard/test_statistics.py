"""The intervals hold what they promise: simulated, not assumed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.leaderboard.contest import Score, contest
from sparring.leaderboard.statistic import Trials, paired_interval

DRAWS = 4000


@pytest.mark.parametrize("trials", [10, 20, 60, 300])
def test_wilson_covers_the_rate_on_average(trials: int) -> None:
    """Wilson (1927) covers 95 % on average over rates, and never falls far below (Brown, Cai, DasGupta 2001)."""
    rng = np.random.default_rng(trials)
    rates = rng.uniform(0.05, 0.95, DRAWS)
    succeeded = rng.binomial(trials, rates)
    intervals = [Trials(int(k), trials).interval for k in succeeded]
    covered = [low <= rate <= high for (low, high), rate in zip(intervals, rates, strict=True)]
    assert 0.935 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("repetitions", [2, 3, 5, 10])
def test_paired_intervals_cover_the_difference(repetitions: int) -> None:
    rng = np.random.default_rng(repetitions)
    truth, covered = 0.07, []
    for differences in rng.normal(truth, 0.03, (DRAWS, repetitions)):
        interval = paired_interval(list(differences))
        assert interval is not None
        covered.append(interval[0] <= truth <= interval[1])
    assert 0.94 <= np.mean(covered) <= 0.96


def test_pairing_takes_out_what_repetitions_have_in_common() -> None:
    """Two defences a point apart, on seeds that move both by ten: paired, the order is sure."""
    rng = np.random.default_rng(0)
    sure = 0
    for _ in range(200):
        seed = rng.normal(0, 0.1, 5)
        values = {name: seed + level + rng.normal(0, 0.002, 5) for name, level in (("a", 0.51), ("b", 0.50))}
        found = contest({name: Score(dict(enumerate(map(float, each)))) for name, each in values.items()})
        sure += found.best == "a" and found.lead is not None and found.lead.sure
    assert sure >= 190


def scores(values: dict[str, list[float]]) -> dict[str, Score]:
    return {name: Score(dict(enumerate(found))) for name, found in values.items()}


def test_ranks_are_shared_where_no_interval_tells_apart() -> None:
    found = contest(
        scores({"a": [0.9, 0.9, 0.91], "b": [0.88, 0.92, 0.9], "c": [0.5, 0.51, 0.5], "d": [0.1, 0.1, 0.11]})
    )
    assert found.ranks == {"a": 1, "b": 1, "c": 3, "d": 4}


def test_one_repetition_claims_no_order() -> None:
    assert contest(scores({"a": [0.9], "b": [0.1]})).ranks == {}


def test_equal_defences_are_rarely_ranked_apart() -> None:
    """Of five that are the same, a given pair is told apart in one board of twenty."""
    rng = np.random.default_rng(1)
    apart = [
        len(set(contest(scores({n: list(map(float, rng.normal(0.5, 0.05, 5))) for n in "ab"})).ranks.values())) > 1
        for _ in range(1000)
    ]
    assert np.mean(apart) == pytest.approx(0.05, abs=0.02)


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2))
def test_ranks_agree_with_the_order_of_means(values: dict[str, list[float]]) -> None:
    found = contest(scores(values))
    means = {name: float(np.mean(each)) for name, each in values.items()}
    assert min(found.ranks.values()) == 1
    for one, rank in found.ranks.items():
        surely_better = [other for other in found.ranks if found.ranks[other] < rank]
        assert len(surely_better) >= (rank > 1)
        assert rank == 1 or any(means[other] >= means[one] - 1e-12 for other in surely_better)
