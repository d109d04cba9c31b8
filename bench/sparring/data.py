"""Data sets as immutable arrays, deltas against them, and the arithmetic of what changed by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Arrays = Mapping[str, NDArray[Any]]
"""Named arrays: how weights, poisons and states travel and are stored."""


def _frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Labelled images that nobody can change.

    Attributes:
        pixels: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; may be memory-mapped. Use `x` to compute.
        y: (N,) int64 labels in 0..K-1.
        class_names: K names; index = label.

    Raises:
        ValueError: shapes, dtypes, ranges or labels are not legal; the message says which.
    """

    pixels: NDArray[np.generic]
    y: IntArray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        problem = dataset_problem(self.pixels, self.y, len(self.class_names))
        if problem:
            raise ValueError(problem)
        object.__setattr__(self, "pixels", _frozen(self.pixels))
        object.__setattr__(self, "y", _frozen(self.y))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def x(self) -> FloatArray:
        """All images as float32 in [0, 1], (N, C, H, W)."""
        return as_unit_floats(self.pixels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        c, h, w = self.pixels.shape[1:]
        return int(c), int(h), int(w)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def rows(self, rows: NDArray[np.integer] | Sequence[int] | NDArray[np.bool_]) -> ArrayDataset:
        """The given rows, by index or mask, in that order."""
        index = np.asarray(rows)
        if index.size == 0:
            index = index.astype(np.int64)
        return replace(self, pixels=self.pixels[index], y=self.y[index])

    def relabelled(self, y: IntArray) -> ArrayDataset:
        """The same images with other labels."""
        return replace(self, y=y.astype(np.int64))

    def with_delta(self, delta: Poisoned) -> ArrayDataset:
        """This data set with the rows of `delta` replaced."""
        if len(delta.rows) == 0:
            return self
        pixels = self.x.copy()
        pixels[delta.rows] = delta.x
        y = self.y.copy()
        y[delta.rows] = delta.y
        return ArrayDataset(pixels, y, self.class_names)


@dataclass(frozen=True, eq=False)
class Poisoned:
    """What a poisoning attack changes: one trial.

    Attributes:
        rows: (M,) int64, distinct rows of the training set that are replaced.
        x: (M, C, H, W) float32 in [0, 1], their new images.
        y: (M,) int64, their new labels.
        state: named arrays that the attack wants back in `trigger` and `probes`.
    """

    rows: IntArray
    x: FloatArray
    y: IntArray
    state: Arrays = field(default_factory=dict)


def poisoned_rows(delta: Poisoned | None, count: int) -> NDArray[np.bool_]:
    """(count,) the truth about which rows were poisoned."""
    truth = np.zeros(count, dtype=bool)
    if delta is not None:
        truth[delta.rows] = True
    return truth


@dataclass(frozen=True, eq=False)
class Targets:
    """What a targeted poisoning attack is asked to do, drawn by the harness.

    Attributes:
        x: (T, C, H, W) float32, the images whose prediction is to change; one trial each.
        y: (T,) int64, their true labels.
        goal: (T,) int64, the labels they shall get.
        rows: (T,) int64, their rows in the test set.
    """

    x: FloatArray
    y: IntArray
    goal: IntArray
    rows: IntArray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Split:
    """Row numbers of the training set, disjoint: `fit` is trained on (and poisoned)."""

    fit: IntArray
    attacker_val: IntArray
    defender_clean: IntArray


def split_train(y: IntArray, attacker_val: int, defender_clean: int, rng: np.random.Generator) -> Split:
    """Cut a training set, at random; sizes are rows, 0 allowed; each part is sorted.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if attacker_val + defender_clean >= len(y):
        raise ValueError(f"splits take {attacker_val} + {defender_clean} rows of {len(y)}: nothing is left to train on")
    order = rng.permutation(len(y))
    cuts = np.split(order, [attacker_val, attacker_val + defender_clean])
    val, clean, fit = (np.sort(part).astype(np.int64) for part in cuts)
    return Split(fit=fit, attacker_val=val, defender_clean=clean)


def as_unit_floats(pixels: NDArray[np.generic]) -> FloatArray:
    """uint8 0..255 or float32 [0, 1] to float32 [0, 1]; no copy where none is needed."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.float32) / np.float32(255)
    return np.asarray(pixels, dtype=np.float32)


def image_problem(x: NDArray[np.generic]) -> str | None:
    """What is wrong with an array of images, or `None`."""
    if x.ndim != 4:
        return f"images have shape {x.shape}; expected (N, C, H, W)"
    if x.dtype == np.uint8:
        return None
    if x.dtype != np.float32:
        return f"images have dtype {x.dtype}; expected uint8 or float32"
    if x.size == 0:
        return None
    low, high = float(x.min()), float(x.max())  # NaN spreads through both
    if not np.isfinite(low + high):
        return "images hold NaN or infinite values"
    if low < 0 or high > 1:
        return f"images lie in [{low:g}, {high:g}]; expected [0, 1]"
    return None


def dataset_problem(pixels: NDArray[np.generic], y: NDArray[np.generic], classes: int) -> str | None:
    """What is wrong with labelled images, or `None`."""
    if problem := image_problem(pixels):
        return problem
    if y.shape != (len(pixels),):
        return f"labels have shape {y.shape}; expected ({len(pixels)},)"
    if y.dtype != np.int64:
        return f"labels have dtype {y.dtype}; expected int64"
    if y.size and not (int(y.min()) >= 0 and int(y.max()) < classes):
        return f"labels lie in {int(y.min())}..{int(y.max())}; expected 0..{classes - 1}"
    return None


@dataclass(frozen=True, eq=False)
class Distortion:
    """How far each of N images moved.

    Attributes:
        l0: (N,) pixels (positions) of which any channel changed.
        l2: (N,) Euclidean length of the change.
        linf: (N,) largest absolute change of one value.
    """

    l0: NDArray[np.int64]
    l2: NDArray[np.float64]
    linf: NDArray[np.float64]

    def in_norm(self, norm: str) -> NDArray[np.float64]:
        """(N,) distances in `linf`, `l2` or `l0`."""
        return np.asarray({"l0": self.l0, "l2": self.l2, "linf": self.linf}[norm], dtype=np.float64)


def distortion(before: FloatArray, after: FloatArray) -> Distortion:
    """Distances between two stacks of images, (N, C, H, W) each."""
    change = after.astype(np.float64) - before.astype(np.float64)
    flat = np.abs(change).reshape(len(change), prod(change.shape[1:]))  # -1 cannot be told where there are no images
    return Distortion(
        l0=np.any(change != 0, axis=1).sum(axis=(1, 2)).astype(np.int64),
        l2=np.sqrt((flat**2).sum(axis=1)),
        linf=flat.max(axis=1, initial=0.0),
    )
