"""All checks, in the order in which they are reported."""

from __future__ import annotations

from sparring.testing.check import Check
from sparring.testing.checks import budgets, declaration, defences, elsewhere, running, scenes

CHECKS: tuple[Check, ...] = (
    *declaration.CHECKS,
    *running.CHECKS,
    *scenes.CHECKS,
    *budgets.CHECKS,
    *defences.CHECKS,
    *elsewhere.CHECKS,
)
