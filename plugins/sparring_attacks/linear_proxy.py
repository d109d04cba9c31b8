"""A linear support vector machine that an attacker fits on features, differentiable in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparring.data import IntArray


@dataclass(frozen=True, eq=False)
class LinearProxy:
    """weight (K, D) and bias (K,), float32, where the features lie."""

    weight: Tensor
    bias: Tensor

    def margins(self, found: Tensor) -> Tensor:
        """(N, K) of the features (N, D)."""
        return torch.addmm(self.bias, found, self.weight.T)


def fitted_proxy(found: Tensor, y: IntArray, classes: int) -> LinearProxy:
    """scikit-learn's `LinearSVC`, one class against the rest, on features (N, D) with labels (N,).

    Classes that `y` lacks, and all where it has fewer than two, keep weights of 0.
    """
    from sklearn.svm import LinearSVC

    present = np.unique(y)
    weight, bias = np.zeros((classes, found.shape[1])), np.zeros(classes)
    if len(present) > 1:
        # without a random_state it takes one from numpy's global generator, although nothing here is random
        svm = LinearSVC(dual=False, random_state=0).fit(found.cpu().numpy(), y)
        binary = len(present) == 2  # one hyperplane, on whose positive side the second class lies
        weight[present] = np.concatenate([-svm.coef_, svm.coef_]) if binary else svm.coef_
        bias[present] = np.concatenate([-svm.intercept_, svm.intercept_]) if binary else svm.intercept_

    def placed(array: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(found.device)

    return LinearProxy(placed(weight), placed(bias))
