"""What every data set's parameters have in common: which classes, and how many images. Import-light.

A data set's params are `SubsetParams`, or a subclass with further fields; its `load` ends in `subset(...)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import param

if TYPE_CHECKING:
    from sparring.data import ArrayDataset, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetParams:
    """Limits choose the same images in every run, whatever the seed, and a larger limit only adds images."""

    classes: tuple[int, ...] = param(
        (), "original labels to keep, relabelled 0, 1, ... in this order; empty: all", at_least=0
    )
    limit_train: int = param(0, "training images at most, balanced over the classes; 0: all", at_least=0)
    limit_test: int = param(0, "test images at most, balanced over the classes; 0: all", at_least=0)


def subset(
    name: str, train: ArrayDataset, test: ArrayDataset, params: SubsetParams
) -> tuple[ArrayDataset, ArrayDataset]:
    """Both parts as the parameters of data set `name` ask.

    Raises:
        ValueError: `params.classes` names a class that is not there, one twice, or fewer than two.
    """
    if params.classes:
        train, test = (_with_classes(name, part, params.classes) for part in (train, test))
    return _limited(train, params.limit_train), _limited(test, params.limit_test)


def balanced_rows(y: IntArray, count: int) -> IntArray:
    """`count` rows (all, if there are fewer), as even over the labels as can be, chosen by a fixed shuffle; sorted."""
    import numpy as np

    shuffled = np.random.default_rng(0).permutation(len(y))
    by_label = shuffled[np.argsort(y[shuffled], kind="stable")]
    first_of_label = np.searchsorted(y[by_label], y[by_label])
    turn = np.arange(len(y)) - first_of_label  # 0 for the first of each label, 1 for the second, ...
    return np.sort(by_label[np.argsort(turn, kind="stable")][:count]).astype(np.int64)


def _limited(part: ArrayDataset, limit: int) -> ArrayDataset:
    return part if limit == 0 or limit >= len(part) else part.rows(balanced_rows(part.y, limit))


def _with_classes(name: str, part: ArrayDataset, classes: tuple[int, ...]) -> ArrayDataset:
    import numpy as np

    from sparring.data import ArrayDataset

    unknown = [str(c) for c in classes if not 0 <= c < part.classes]
    if unknown:
        raise ValueError(f"{name} has the classes 0 to {part.classes - 1}; `classes` names {', '.join(unknown)}")
    if len(set(classes)) < max(2, len(classes)):
        raise ValueError(f"{name}: `classes` must name at least two classes, each once, not {list(classes)}")
    new_label = np.full(part.classes, -1, dtype=np.int64)
    new_label[list(classes)] = np.arange(len(classes))
    chosen = part.rows(new_label[part.y] >= 0)
    return ArrayDataset(chosen.pixels, new_label[chosen.y], tuple(part.class_names[c] for c in classes))
