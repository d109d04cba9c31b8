"""Lies at training time. Each function is a `poison` that breaks one rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, Norm, ThreatModel, When

FRACTION = 0.05


def _delta(train: Any, rows: Any, change: Callable[[Any], Any] = lambda x: x, shift: int = 0) -> Any:
    import numpy as np

    from sparring.data import Poisoned

    index = np.asarray(rows, dtype=np.int64)
    images = train.rows(index)
    return Poisoned(index, change(images.x.copy()), (images.y + shift) % train.classes)


def too_many_rows(train: Any) -> Any:
    return [_delta(train, range(int(2 * FRACTION * len(train))))]


def label_change(train: Any) -> Any:
    return [_delta(train, range(10), shift=1)]


def row_twice(train: Any) -> Any:
    return [_delta(train, [1, 2, 1])]


def row_that_is_none(train: Any) -> Any:
    from dataclasses import replace

    import numpy as np

    delta = _delta(train, [0, 1])
    return [replace(delta, rows=np.array([0, len(train)]))]


def label_that_is_none(train: Any) -> Any:
    from dataclasses import replace

    delta = _delta(train, [0, 1])
    return [replace(delta, y=delta.y + 100)]


def poison_over_epsilon(train: Any) -> Any:
    return [_delta(train, range(10), change=lambda x: 1 - x)]


def poison_not_a_number(train: Any) -> Any:
    return [_delta(train, range(10), change=lambda x: x * float("nan"))]


def poison_of_wrong_shape(train: Any) -> Any:
    return [_delta(train, range(10), change=lambda x: x[:, :, 1:])]


def two_trials(train: Any) -> Any:
    return [_delta(train, range(10)), _delta(train, range(10))]


def no_sequence(train: Any) -> Any:
    return _delta(train, range(10))


def writes_to_numpy(train: Any) -> Any:
    train.y[:] = 0
    return [_delta(train, range(10))]


def writes_through_torch(train: Any) -> Any:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(train.y).zero_()
    return [_delta(train, range(10))]


class Lying:
    def __init__(self, lie: Callable[[Any], Any]) -> None:
        self.lie = lie

    def poison(self, train: Any, threat: ThreatModel, targets: Any, aux: Any, ctx: Any) -> Sequence[Any]:
        poisoned: Sequence[Any] = self.lie(train)
        return poisoned


def _spec(lie: Callable[[Any], Any]) -> AttackSpec:
    def load(params: NoParams) -> Lying:
        return Lying(lie)

    return AttackSpec(
        name=lie.__name__.replace("_", "-"),
        summary="A lie.",
        load=load,
        when=When.TRAINING,
        acts=frozenset({Act.POISON}),
        goals=(Goal.AVAILABILITY,),
        norms=(Norm.LINF,),
        reads=frozenset({"poison_fraction", "label_changes", "epsilon", "norm"}),
        threat=ThreatModel(poison_fraction=FRACTION, label_changes=False, epsilon=0.1),
    )


SPECS = tuple(
    _spec(lie)
    for lie in (
        too_many_rows,
        label_change,
        row_twice,
        row_that_is_none,
        label_that_is_none,
        poison_over_epsilon,
        poison_not_a_number,
        poison_of_wrong_shape,
        two_trials,
        no_sequence,
        writes_to_numpy,
        writes_through_torch,
    )
)
