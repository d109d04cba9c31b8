"""scikit-learn's linear support vector machine as one hyperplane per class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from sparring_victims.sklearn_models import ABSENT


def one_against_rest(
    svm: LinearSVC, x: NDArray[Any], y: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (K, D) and biases (K,) of `svm` fitted on x (N, D); the largest margin is the class it predicts.

    A class that `y` lacks has weights 0 and the bias `ABSENT`, so that it is never chosen.
    """
    present = np.unique(y)
    weight = np.zeros((classes, x.shape[1]))
    bias = np.full(classes, ABSENT)
    bias[present] = 0.0
    if len(present) > 1:
        svm.fit(x, y)
        binary = len(present) == 2  # one hyperplane, on whose positive side the second class lies
        weight[present] = np.concatenate([-svm.coef_, svm.coef_]) if binary else svm.coef_
        bias[present] = np.concatenate([-svm.intercept_, svm.intercept_]) if binary else svm.intercept_
    return weight, bias
