"""Two defences that are known to do nothing but hide gradients; a board has to say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, DefenceSpec, NoParams

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.model import Guard, Model


class HardLevels:
    """Rounds to black and white and hands the attacker the true derivative, which is 0 (Athalye et al. 2018, section
    4.1: shattered gradients; what BPDA is for)."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from sparring.model import Guard, TransformedModel

        return Guard(TransformedModel(model, lambda x: x.round(), backward="exact"))


class Saturated:
    """Logits a million times as large: the softmax saturates, and the loss is flat (Carlini & Wagner 2017, section
    IX.B, on defensive distillation). Predictions are those of the model without it."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from masking_plugins.saturated import SaturatedModel
        from sparring.model import Guard

        return Guard(SaturatedModel(model))


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    for name, load in (("hard-levels", HardLevels), ("saturated", Saturated)):
        yield DefenceSpec(
            name=name,
            summary="Hides gradients and does nothing else.",
            params=NoParams,
            randomised=False,
            load=load,
            acts=frozenset({Act.GUARD}),
        )
