"""Victims that break rules, and one honest federated one for the liars to attack."""

from __future__ import annotations

from typing import Any

from sparring.plugin import Act, NoParams, VictimSpec
from sparring.threat import Access


def _constant(label: int, shape: tuple[int, ...] | None = None, weight: float = 0.0) -> Any:
    import numpy as np
    import torch

    from sparring.model import Model

    class Constant(Model):
        offers = frozenset({Access.DECISIONS})
        classes = 10

        def predict(self, x: Any) -> Any:
            return torch.full(shape or (len(x),), label)

        def state(self) -> Any:
            return {"weight": np.array([weight])}

    return Constant()


class _Victim:
    def __init__(self, params: NoParams) -> None:
        self.params = params

    def recipe(self) -> Any:
        from sparring.training import Recipe

        return Recipe()

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return self.restore({}, ctx)

    def restore(self, state: Any, ctx: Any) -> Any:
        return _constant(0)


class UnknownLabels(_Victim):
    def restore(self, state: Any, ctx: Any) -> Any:
        return _constant(10)


class OneLabelForAll(_Victim):
    def restore(self, state: Any, ctx: Any) -> Any:
        return _constant(0, shape=(1,))


class NotANumber(_Victim):
    def restore(self, state: Any, ctx: Any) -> Any:
        return _constant(0, weight=float("nan"))


class WritesToTheTrainingSet(_Victim):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        train.x[:] = 0
        return self.restore({}, ctx)


class Rounds(_Victim):
    clients = 4

    def fit_rounds(self, clients: Any, recipe: Any, corrupt: Any, ctx: Any) -> Any:
        import torch

        for client in range(self.clients):
            corrupt({"weight": torch.ones(3), "bias": torch.ones(1)}, client, 0)
        return _constant(0)


def _spec(name: str, load: Any, act: Act = Act.FIT) -> VictimSpec:
    decisions = frozenset({Access.DECISIONS})
    return VictimSpec(name=name, summary="A lie.", load=load, offers=decisions, acts=frozenset({act}))


SPECS = (
    _spec("unknown-labels", UnknownLabels),
    _spec("one-label-for-all", OneLabelForAll),
    _spec("fitted-to-nothing", NotANumber),
    _spec("writes-to-the-training-set", WritesToTheTrainingSet),
    _spec("rounds", Rounds, Act.FIT_ROUNDS),
)
