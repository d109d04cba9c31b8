"""What the harness draws by seed: which images are attacked, and which answers are wanted of them."""

from __future__ import annotations

import numpy as np

from sparring.data import ArrayDataset, IntArray, Targets


def sampled_rows(count: int, samples: int, seed: int) -> IntArray:
    """Sorted rows of the test set that are attacked: all, or a random sample without replacement."""
    if samples >= count:
        return np.arange(count, dtype=np.int64)
    chosen = np.random.default_rng(seed).choice(count, size=samples, replace=False)
    return np.sort(chosen).astype(np.int64)


def draw_targets(test: ArrayDataset, trials: int, seed: int) -> Targets:
    """Test images that a targeted poisoning shall have misclassified, and as what; one per trial."""
    rows = np.random.default_rng(seed).choice(len(test), size=trials, replace=trials > len(test)).astype(np.int64)
    labels = test.y[rows]
    return Targets(x=test.rows(rows).x, y=labels, goal=draw_goals(labels, test.classes, seed), rows=rows)


def draw_goals(labels: IntArray, classes: int, seed: int) -> IntArray:
    """(N,) for each label another one, uniformly at random.

    Raises:
        ValueError: there is no other class.
    """
    if classes < 2:
        raise ValueError("a targeted attack needs at least two classes")
    shift = np.random.default_rng([seed, 1]).integers(1, classes, size=len(labels))
    return ((labels + shift) % classes).astype(np.int64)
