"""All checks, in the order in which they are reported."""

from __future__ import annotations

from sparring.testing.check import Check
from sparring.testing.checks import (
    budgets,
    datasets,
    declaration,
    defences,
    elsewhere,
    metrics,
    running,
    scenes,
    victims,
)

CHECKS: tuple[Check, ...] = (
    *declaration.CHECKS,
    *running.CHECKS,
    *scenes.CHECKS,
    *budgets.CHECKS,
    *datasets.CHECKS,
    *victims.CHECKS,
    *metrics.CHECKS,
    *defences.CHECKS,
    *elsewhere.CHECKS,
)
