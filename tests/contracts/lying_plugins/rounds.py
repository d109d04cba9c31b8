"""Lies in federated rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, ThreatModel, When


def update_without_a_name(update: Any) -> Any:
    return dict(list(update.items())[1:])


def update_not_a_number(update: Any) -> Any:
    return {name: change * float("nan") for name, change in update.items()}


class Lying:
    def __init__(self, lie: Callable[[Any], Any]) -> None:
        self.lie = lie

    def corrupt(self, update: Any, client: int, round_: int, state: Any, ctx: Any) -> Any:
        return self.lie(update)


def _spec(lie: Callable[[Any], Any]) -> AttackSpec:
    def load(params: NoParams) -> Lying:
        return Lying(lie)

    return AttackSpec(
        name=lie.__name__.replace("_", "-"),
        summary="A lie.",
        load=load,
        when=When.TRAINING,
        acts=frozenset({Act.CORRUPT}),
        goals=(Goal.AVAILABILITY,),
        reads=frozenset({"poison_fraction"}),
        threat=ThreatModel(poison_fraction=0.5),
    )


SPECS = (_spec(update_without_a_name), _spec(update_not_a_number))
