"""Cells dealt out to machines: every cell once, and what shares a fit together."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.catalogue import discover
from sparring.errors import BadInput
from sparring.shards import Shard, cells_of, parse_shard
from sparring.suite import expand, suite_from_selectors


def cells(repetitions: int = 3):
    catalogue = discover()
    suite = suite_from_selectors(
        catalogue,
        datasets=["digits"],
        victims=["logistic", "mlp", "cnn"],
        attacks=["none", "fgsm[eps=0.1]", "label-flip"],
        defences=["none", "jpeg"],
        repetitions=repetitions,
    )
    return expand(suite, catalogue)


@given(st.integers(1, 12), st.integers(1, 4))
def test_all_shards_together_hold_every_cell_once(count: int, repetitions: int) -> None:
    whole = cells(repetitions)
    dealt = [cell.id for index in range(1, count + 1) for cell in cells_of(Shard(index, count), whole)]
    assert sorted(dealt) == sorted(cell.id for cell in whole)


def test_what_shares_a_fit_stays_together_and_loads_are_even() -> None:
    whole = cells()
    where: dict[tuple[str, int], set[int]] = defaultdict(set)
    loads = []
    for index in range(1, 5):
        mine = cells_of(Shard(index, 4), whole)
        loads.append(len(mine))
        for cell in mine:
            where[str(cell.victim), cell.repetition].add(index)
    assert all(len(found) == 1 for found in where.values())
    assert max(loads) - min(loads) <= len(whole) / 9, "at most one group apart"


def test_a_shard_is_read_and_written_alike() -> None:
    assert str(parse_shard("2/5")) == "2/5"


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "1/2/3", "-1/2", "", "1 / 2"])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="shard"):
        parse_shard(text)
