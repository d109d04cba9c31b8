"""Data sets cannot be changed, deltas do what they say, and distances are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparring.data import ArrayDataset, Poisoned, distortion, split_train

NAMES = ("a", "b", "c")


def dataset(n: int = 6) -> ArrayDataset:
    rng = np.random.default_rng(0)
    return ArrayDataset(rng.random((n, 1, 4, 5), dtype=np.float32), rng.integers(0, 3, n), NAMES)


def test_arrays_are_read_only() -> None:
    data = dataset()
    with pytest.raises(ValueError, match="read-only"):
        data.x[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        data.y[0] = 0


@pytest.mark.parametrize(
    ("pixels", "y", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), [0, 1], r"expected \(N, C, H, W\)"),
        (np.zeros((2, 1, 4, 4)), [0, 1], "dtype float64"),
        (np.full((2, 1, 4, 4), np.nan, np.float32), [0, 1], "NaN"),
        (np.full((2, 1, 4, 4), 1.5, np.float32), [0, 1], r"\[1.5, 1.5\]; expected \[0, 1\]"),
        (np.zeros((2, 1, 4, 4), np.float32), [0, 3], r"labels lie in 0..3; expected 0..2"),
        (np.zeros((2, 1, 4, 4), np.float32), [0], r"labels have shape \(1,\)"),
    ],
)
def test_illegal_data_is_refused(pixels: np.ndarray, y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayDataset(pixels, np.array(y, dtype=np.int64), NAMES)


def test_uint8_reads_as_unit_floats() -> None:
    data = ArrayDataset(np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1), np.zeros(3, np.int64), NAMES)
    assert data.x.dtype == np.float32
    assert data.x.ravel().tolist() == pytest.approx([0, 0.2, 1])


def test_a_delta_replaces_its_rows_only() -> None:
    data = dataset()
    rows = np.array([4, 1])
    delta = Poisoned(rows, np.ones((2, 1, 4, 5), np.float32), np.array([2, 0]))
    poisoned = data.with_delta(delta)
    assert (poisoned.x[rows] == 1).all()
    assert poisoned.y[rows].tolist() == [2, 0]
    rest = np.setdiff1d(np.arange(6), rows)
    assert (poisoned.x[rest] == data.x[rest]).all()
    assert (poisoned.y[rest] == data.y[rest]).all()


@given(st.integers(3, 60), st.integers(0, 1), st.integers(0, 1), st.integers(0, 99))
def test_a_split_is_a_partition(n: int, val: int, clean: int, seed: int) -> None:
    split = split_train(np.zeros(n, np.int64), val, clean, np.random.default_rng(seed))
    assert (len(split.attacker_val), len(split.defender_clean)) == (val, clean)
    together = np.concatenate([split.fit, split.attacker_val, split.defender_clean])
    assert sorted(together.tolist()) == list(range(n))


def test_a_split_leaves_something() -> None:
    with pytest.raises(ValueError, match="nothing is left to train on"):
        split_train(np.zeros(5, np.int64), 3, 2, np.random.default_rng(0))


images = hnp.arrays(np.float32, (3, 2, 4, 4), elements=st.floats(0, 1, width=32))


@given(images, images)
def test_distances_agree_with_numpy(before: np.ndarray, after: np.ndarray) -> None:
    moved = distortion(before, after)
    change = (after.astype(float) - before.astype(float)).reshape(3, -1)
    assert moved.l2 == pytest.approx(np.linalg.norm(change, axis=1))
    assert moved.linf == pytest.approx(np.abs(change).max(axis=1))
    assert moved.l0.tolist() == (before != after).any(axis=1).reshape(3, -1).sum(axis=1).tolist()


def test_l0_counts_pixels_not_channels() -> None:
    before = np.zeros((1, 3, 2, 2), np.float32)
    after = before.copy()
    after[0, :, 0, 1] = 1
    assert distortion(before, after).l0.tolist() == [1]


def test_no_images_have_no_distortion() -> None:
    nothing = np.empty((0, 3, 4, 4), dtype=np.float32)
    moved = distortion(nothing, nothing)
    assert [len(moved.in_norm(norm)) for norm in ("l0", "l2", "linf")] == [0, 0, 0]
