"""No attack: the row that all others are compared with."""

from __future__ import annotations

from sparring.plugin import AttackSpec, NoParams
from sparring.threat import Goal, When


class NoAttack:
    """Does nothing."""

    def __init__(self, params: NoParams) -> None:
        self.params = params


SPEC = AttackSpec(
    name="none",
    summary="No attack.",
    load=NoAttack,
    randomised=False,
    when=When.NEVER,
    acts=frozenset(),
    goals=(Goal.NOTHING,),
)
