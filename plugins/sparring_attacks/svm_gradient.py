"""A support vector machine with poison in its training set, and how its validation loss depends on the poison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Machine:
    """f(x) = Σ a_i k(x_i, x) + b, fitted on clean rows (N, D) and points (P, D), which have the label 1.

    Attributes:
        rows, points: what it was fitted on.
        signs: (N,) 1 or -1, labels of the rows.
        a: (N + P,) signed dual coefficients, at most `c` in size.
        gamma: of the Gaussian kernel; `None`: the kernel is linear.
    """

    rows: Reals
    points: Reals
    signs: NDArray[Any]
    a: Reals
    b: float
    c: float
    gamma: float | None

    @classmethod
    def fitted(cls, rows: Reals, signs: NDArray[Any], points: Reals, c: float, gamma: float | None) -> Machine:
        from sklearn.svm import SVC

        x = np.concatenate([rows, points])
        y = np.concatenate([signs, np.ones(len(points), dtype=signs.dtype)])
        # without a random_state it takes one from numpy's global generator, although nothing here is random
        svm = SVC(C=c, kernel="precomputed", random_state=0).fit(_kernel(x, x, gamma), y)
        a = np.zeros(len(x))
        a[svm.support_] = svm.dual_coef_[0]
        return cls(rows, points, signs, a, float(svm.intercept_[0]), c, gamma)

    def margins(self, x: Reals) -> Reals:
        """(M,) f(x)."""
        values: Reals = _kernel(x, np.concatenate([self.rows, self.points]), self.gamma) @ self.a + self.b
        return values

    def hinge(self, x: Reals, signs: NDArray[Any]) -> float:
        """Summed hinge loss of validation rows (M, D) with labels `signs`."""
        return float(np.maximum(0, 1 - signs * self.margins(x)).sum())

    def ascent(self, x: Reals, signs: NDArray[Any]) -> Reals:
        """(P, D) gradient of `hinge` in the points (Biggio et al. 2012, equations 5 to 10).

        f moves with a point directly, and because the free support vectors (0 < |a| < c) among the clean rows and the
        offset give way, so that these rows stay on their margins. The points' own coefficients are held.
        """
        bad = signs * self.margins(x) < 1
        free = np.flatnonzero(
            (np.abs(self.a[: len(self.rows)]) > 1e-8) & (np.abs(self.a[: len(self.rows)]) < self.c - 1e-8)
        )
        held = self.rows[free]
        bordered = np.zeros((len(free) + 1, len(free) + 1))
        bordered[0, 1:] = bordered[1:, 0] = 1
        bordered[1:, 1:] = _kernel(held, held, self.gamma)
        pull = np.concatenate([[signs[bad].sum()], _kernel(held, x[bad], self.gamma) @ signs[bad]])
        answer = np.linalg.lstsq(bordered, pull, rcond=None)[0][1:]
        weights = np.concatenate([-signs[bad], answer])  # d hinge = Σ weights_i d f(x_i), f of the points' terms alone
        return self.a[len(self.rows) :, None] * _kernel_slopes(
            np.concatenate([x[bad], held]), self.points, self.gamma, weights
        )


def _kernel(x: Reals, z: Reals, gamma: float | None) -> Reals:
    """(M, N)."""
    product: Reals = x @ z.T if gamma is None else np.exp(-gamma * cdist(x, z, "sqeuclidean"))
    return product


def _kernel_slopes(x: Reals, points: Reals, gamma: float | None, weights: Reals) -> Reals:
    """(P, D) gradient of Σ weights_i k(x_i, u) at each of the points u."""
    if gamma is None:
        return np.broadcast_to(weights @ x, points.shape)
    weighted = 2 * gamma * _kernel(points, x, gamma) * weights
    slopes: Reals = weighted @ x - weighted.sum(axis=1, keepdims=True) * points
    return slopes
