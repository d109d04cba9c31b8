"""The first two principal components of what a model makes of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PROJECTED = 1000
"""Images of each set that are projected, at most."""


def drawn(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `PROJECTED` of `count` rows, sorted."""
    return np.sort(rng.choice(count, size=min(PROJECTED, count), replace=False))


def principal_axes(features: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (F,) of (N, F) features and their first two principal axes (F, 2), longest entry positive."""
    points = features.astype(np.float64)
    mean = points.mean(axis=0)
    axes = np.linalg.svd(points - mean, full_matrices=False)[2][:2].T
    return mean, axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
