"""Whether what a plugin returned is what its contract says: by the harness's own judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sparring.plugin import Kind
from sparring.testing.acting.attacks import legal_attack
from sparring.testing.acting.defences import legal_defence
from sparring.testing.performance import Performance
from sparring.testing.subject import Subject

LEGALITY: Mapping[Kind, Callable[[Subject, Performance], None]] = {
    Kind.ATTACK: legal_attack,
    Kind.DEFENCE: legal_defence,
}
"""Raise `RuleBroken`, in the words that a failed record would have."""
