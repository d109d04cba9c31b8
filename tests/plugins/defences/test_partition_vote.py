"""DPA: the certificate holds against real changes of the training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparring.contracts import Context
from sparring.data import ArrayDataset, Poisoned
from sparring_defences.partition_vote import Params, PartitionVote, changes_withstood, parts_of
from sparring_victims.logistic import Logistic
from sparring_victims.logistic import Params as LogisticParams

VICTIM = Logistic(LogisticParams(epochs=20, learning_rate=0.05))
DEFENCE = PartitionVote(Params(parts=12))


@given(st.lists(st.integers(0, 6), min_size=2, max_size=4).filter(lambda votes: sum(votes) > 0), st.integers(0, 4))
def test_the_bound_is_the_largest_that_no_change_of_voters_breaks(votes: list[int], changes: int) -> None:
    """By trying: the worst change takes votes from the winner and gives them to one rival."""
    tally, withstood = np.array(votes), int(changes_withstood(np.array([votes]))[0])
    winner, changes = int(tally.argmax()), min(changes, int(tally.max()))

    def broken(rival: int) -> bool:
        moved = tally.copy()
        moved[winner] -= changes
        moved[rival] += changes
        return int(moved.argmax()) != winner

    assert any(broken(rival) for rival in range(len(tally)) if rival != winner) == (changes > withstood)


def fitted(train: ArrayDataset):
    return DEFENCE.fit(VICTIM, train, VICTIM.recipe(), Context(seed=5, device="cpu", scratch=Path()))


@pytest.fixture(scope="module")
def train(digits: ArrayDataset) -> ArrayDataset:
    return digits.rows(np.arange(1200))


def test_the_certificate_holds_against_replaced_rows(train, digits, context) -> None:
    """One row is replaced by another image with another label, chosen to leave one part and enter another: no certified
    answer changes, and ten members stay bit by bit what they were."""
    x = torch.from_numpy(digits.x[1300:].copy())
    before = fitted(train)
    certificate = DEFENCE.certify(before, x, context())
    assert certificate.unit == "rows"
    assert (certificate.radius >= 1).mean() > 0.3
    for seed in range(3):
        rng = np.random.default_rng(seed)
        row = rng.integers(len(train), size=1)
        noise = rng.random((1, 1, 8, 8), dtype=np.float32)
        poisoned = train.with_delta(Poisoned(row, noise, (train.y[row] + 1) % 10))
        after = fitted(poisoned)
        moved = sum(
            not all(np.array_equal(a, after.members[k].state()[name]) for name, a in member.state().items())
            for k, member in before.members.items()
        )
        assert 1 <= moved <= 2
        same = after.predict(x).numpy() == certificate.prediction
        assert same[certificate.radius >= 1].all()


def test_parts_do_not_depend_on_how_pixels_are_stored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4)).astype(np.uint8)
    labels = np.zeros(50, dtype=np.int64)
    stored = ArrayDataset(pixels, labels, ("a",))
    assert (parts_of(stored, 7) == parts_of(ArrayDataset(stored.x, labels, ("a",)), 7)).all()


def test_an_empty_part_has_a_constant_vote(digits, context) -> None:
    few = digits.rows(np.arange(20))
    model = fitted(few)
    assert len(model.members) < 12
    assert (model.scores(torch.from_numpy(few.x.copy())).sum(dim=1) == 12).all()
    again = DEFENCE.restore(VICTIM, dict(model.state()), context())
    assert torch.equal(again.scores(torch.from_numpy(few.x.copy())), model.scores(torch.from_numpy(few.x.copy())))
