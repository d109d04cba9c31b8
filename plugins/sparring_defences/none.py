"""No defence: the column that all others are compared with."""

from __future__ import annotations

from sparring.plugin import DefenceSpec, NoParams


class NoDefence:
    """Does nothing."""

    def __init__(self, params: NoParams) -> None:
        self.params = params


SPEC = DefenceSpec(name="none", summary="No defence.", randomised=False, load=NoDefence, acts=frozenset())
