"""The upper bound of all filters: it is told the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, NoParams
from sparring.threat import Access

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context, Sanitised
    from sparring.data import ArrayDataset


class OracleFilter:
    """Removes what was poisoned, and nothing else."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        from sparring.contracts import Sanitised

        assert aux.poisoned is not None, "needs says oracle"
        return Sanitised(keep=~aux.poisoned)


SPEC = DefenceSpec(
    name="oracle-filter",
    summary="Removes exactly the poisoned rows.",
    load=OracleFilter,
    acts=frozenset({Act.SANITISE}),
    needs=frozenset({Access.ORACLE}),
)
