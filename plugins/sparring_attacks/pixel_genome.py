"""From the 3K numbers of a search to the marks of K classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.data import FloatArray
from sparring_attacks.pixel_marks import Marks

BLACK, WHITE = 0.15, 0.3


@dataclass(frozen=True, eq=False)
class MarkSpace:
    """Where marks may lie, and how points of the unit cube name them.

    Attributes:
        allowed: (K, H, W) bool, at least one pixel for each class.
        writing: of the marks; see `Marks`.
    """

    allowed: NDArray[np.bool_]
    writing: str

    @property
    def dimensions(self) -> int:
        """3K: row, column and intensity of each class."""
        return 3 * len(self.allowed)

    def marks(self, point: NDArray[np.float64]) -> Marks:
        """The marks that a point (3K,) of the unit cube names: all rows, then all columns, then all intensities.

        A row u lies at u H, a column at u W; the pixel is the allowed one whose centre is nearest. An intensity u is
        black up to 0.15, white from 0.3 on, linear between. The ends are the strongest marks, and no mark at all, and
        what lies between them is weaker than both: a search that has to walk through it does not arrive.
        """
        classes, height, width = self.allowed.shape
        row, column, intensity = point.reshape(3, classes)
        wanted = np.stack([row * height, column * width], axis=1) - 0.5
        nearest = [_nearest(allowed, place) for allowed, place in zip(self.allowed, wanted, strict=True)]
        strength = np.clip((intensity - BLACK) / (WHITE - BLACK), 0, 1).astype(np.float32)
        return Marks(np.array(nearest, dtype=np.int64), strength, self.writing)


def _nearest(allowed: NDArray[np.bool_], place: NDArray[np.float64]) -> NDArray[np.int64]:
    pixels = np.argwhere(allowed)
    nearest: NDArray[np.int64] = pixels[((pixels - place) ** 2).sum(axis=1).argmin()]
    return nearest


def outside_of_interest(maps: FloatArray, quantile: float) -> NDArray[np.bool_]:
    """(K, H, W) bool: for each class, the pixels whose activation map (K, H, W) is at most its `quantile`."""
    limits = np.quantile(maps, quantile, axis=(1, 2), keepdims=True)
    allowed: NDArray[np.bool_] = maps <= limits
    return allowed
