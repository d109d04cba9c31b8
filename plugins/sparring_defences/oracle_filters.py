"""Controls for sanitisers: one that knows the poison, and one that removes as many rows at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, NoParams
from sparring.threat import Access

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context, Sanitised
    from sparring.data import ArrayDataset


class PerfectFilter:
    """Removes exactly the poisoned rows: what sanitising can achieve at best."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        from sparring.contracts import Sanitised

        assert aux.poisoned is not None
        return Sanitised(keep=~aux.poisoned)


class RandomFilter:
    """Removes as many rows as were poisoned, any of them: what a smaller training set does by itself."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        import numpy as np

        from sparring.contracts import Sanitised

        assert aux.poisoned is not None
        keep = np.ones(len(train), dtype=bool)
        keep[ctx.rng.choice(len(train), size=int(aux.poisoned.sum()), replace=False)] = False
        return Sanitised(keep)


PERFECT = DefenceSpec(
    name="perfect-filter",
    summary="Control: removes exactly the poisoned rows.",
    randomised=False,
    load=PerfectFilter,
    acts=frozenset({Act.SANITISE}),
    needs=frozenset({Access.ORACLE}),
)

RANDOM = DefenceSpec(
    name="random-filter",
    summary="Control: removes as many rows as were poisoned, at random.",
    load=RandomFilter,
    acts=frozenset({Act.SANITISE}),
    needs=frozenset({Access.ORACLE}),
)
