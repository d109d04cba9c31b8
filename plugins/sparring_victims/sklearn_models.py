"""Fitted scikit-learn classifiers as named arrays, and their answers computed from these.

Pickle would run code when a store is opened, and scikit-learn has no other format. The answers equal scikit-learn's.
A class that the training set lacks keeps its column and is never chosen.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray
from sparring.model import Model
from sparring.threat import Access

ABSENT = -1e6
"""The score of a class that the training set lacks; finite, so that differences of scores stay numbers."""

CHUNK = 512


def flat(train: ArrayDataset) -> FloatArray:
    """(N, C*H*W).

    Raises:
        ValueError: there is no image to train on.
    """
    if len(train) == 0:
        raise ValueError("no images to train on: the training set is empty")
    return train.x.reshape(len(train), -1)


def _tensor(array: NDArray[Any], device: str) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device)


class LinearModel(Model):
    """x W' + b. State: `weight` (K, D), `bias` (K,)."""

    offers = frozenset({Access.DECISIONS, Access.SCORES, Access.GRADIENTS})

    def __init__(self, state: Arrays, device: str) -> None:
        self._state = state
        self.classes = len(state["bias"])
        self._weight = _tensor(state["weight"], device)
        self._bias = _tensor(state["bias"], device)

    def logits(self, x: Tensor) -> Tensor:
        return torch.addmm(self._bias, x.flatten(1).double(), self._weight.T).float()

    def scores(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.logits(x)

    def state(self) -> Arrays:
        return self._state


class KernelModel(Model):
    """A support vector machine with a Gaussian kernel.

    State: `classes` K; `present` (P,) the labels fitted; `gamma`; `vectors` (S, D) sorted by class; `per_class` (P,)
    how many of them each class has; `dual` (P - 1, S) and `intercept` (P (P - 1) / 2,) as libsvm lays them out.
    """

    offers = frozenset({Access.DECISIONS, Access.SCORES})

    def __init__(self, state: Arrays, device: str) -> None:
        self._state = state
        self.classes = int(state["classes"])
        self._gamma = float(state["gamma"])
        self._present = _tensor(state["present"], device)
        self._vectors = _tensor(state["vectors"], device).double()
        self._weights = _tensor(pairwise_weights(state), device)
        self._intercept = _tensor(state["intercept"], device)
        pairs = list(combinations(range(len(self._present)), 2))
        self._first = torch.tensor([i for i, _ in pairs], dtype=torch.int64, device=device)
        self._second = torch.tensor([j for _, j in pairs], dtype=torch.int64, device=device)

    def scores(self, x: Tensor) -> Tensor:
        parts = [self._scores(part.flatten(1).double()) for part in x.split(CHUNK)]
        return torch.cat(parts) if parts else x.new_zeros((0, self.classes))

    def _scores(self, x: Tensor) -> Tensor:
        squares = (x**2).sum(1)[:, None] + (self._vectors**2).sum(1) - 2 * x @ self._vectors.T
        margins = torch.exp(-self._gamma * squares) @ self._weights + self._intercept
        scores = x.new_full((len(x), self.classes), ABSENT)
        if len(self._present) == 2:
            scores[:, self._present] = torch.cat([-margins, margins], dim=1)
        else:
            scores[:, self._present] = self._votes(margins)
        return scores.float()

    def _votes(self, margins: Tensor) -> Tensor:
        """Votes plus the summed margins squeezed into (-1/3, 1/3), (N, P)."""
        wins = margins > 0  # for the first of the two
        votes = margins.new_zeros((len(margins), len(self._present)))
        votes.index_add_(1, self._first, wins.double()).index_add_(1, self._second, (~wins).double())
        confidence = torch.zeros_like(votes)
        confidence.index_add_(1, self._first, margins).index_add_(1, self._second, -margins)
        return votes + confidence / (3 * (confidence.abs() + 1))

    def state(self) -> Arrays:
        return self._state


def pairwise_weights(state: Arrays) -> NDArray[np.float64]:
    """(S, pairs): what each support vector adds to the margin of each pair of classes."""
    dual = np.asarray(state["dual"], dtype=np.float64)
    stops = np.cumsum(state["per_class"])
    own = [slice(int(stop - count), int(stop)) for stop, count in zip(stops, state["per_class"], strict=True)]
    pairs = list(combinations(range(len(own)), 2))
    weights = np.zeros((len(state["vectors"]), len(pairs)))
    for column, (i, j) in enumerate(pairs):
        weights[own[i], column] = dual[j - 1, own[i]]
        weights[own[j], column] = dual[i, own[j]]
    return weights


class ForestModel(Model):
    """A random forest. State, over the nodes of all trees: `left`, `right` (children; a leaf is its own), `feature`,
    `threshold`, `value` (nodes, K) class probabilities; and `roots`, the first node of each tree."""

    offers = frozenset({Access.DECISIONS, Access.SCORES, Access.PROBABILITIES})

    def __init__(self, state: Arrays, device: str) -> None:
        self._state = state
        self.classes = state["value"].shape[1]
        self._roots = _tensor(state["roots"], device)
        self._children = torch.stack([_tensor(state["left"], device), _tensor(state["right"], device)])
        self._feature = _tensor(state["feature"], device)
        self._threshold = _tensor(state["threshold"], device)
        self._value = _tensor(state["value"], device)

    def probabilities(self, x: Tensor) -> Tensor:
        parts = [self._probabilities(part.flatten(1)) for part in x.split(CHUNK)]
        return torch.cat(parts) if parts else x.new_zeros((0, self.classes))

    def scores(self, x: Tensor) -> Tensor:
        return self.probabilities(x)

    def _probabilities(self, x: Tensor) -> Tensor:
        node = self._roots.repeat(len(x), 1)
        while True:  # all images walk down all trees together; who has arrived stays
            right = x.gather(1, self._feature[node]).double() > self._threshold[node]
            below = self._children[right.long(), node]
            if torch.equal(below, node):
                break
            node = below
        total = x.new_zeros((len(x), self.classes), dtype=torch.float64)
        for leaves in node.T:  # tree by tree, in scikit-learn's order: sums of floats depend on it
            total += self._value[leaves]
        return (total / len(self._roots)).float()

    def state(self) -> Arrays:
        return self._state


def forest_state(forest: Any, classes: int) -> Arrays:
    """The state of `ForestModel` for a fitted scikit-learn forest."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    value = np.zeros((sum(tree.node_count for tree in trees), classes))
    own = np.concatenate([tree.value[:, 0, :] for tree in trees])
    value[:, forest.classes_] = own / own.sum(axis=1, keepdims=True)

    def child(name: str) -> IntArray:
        linked = [np.where(getattr(t, name) < 0, np.arange(t.node_count), getattr(t, name)) for t in trees]
        return np.concatenate([nodes + root for nodes, root in zip(linked, roots, strict=True)]).astype(np.int64)

    return {
        "roots": roots.astype(np.int64),
        "left": child("children_left"),
        "right": child("children_right"),
        "feature": np.concatenate([tree.feature for tree in trees]).clip(0).astype(np.int64),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "value": value,
    }
