"""Whether what a plugin returned is what its contract says: by the harness's own judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sparring.plugin import Kind
from sparring.stage import RuleBroken
from sparring.testing.acting.attacks import legal_attack
from sparring.testing.acting.datasets import legal_dataset
from sparring.testing.acting.defences import legal_defence
from sparring.testing.acting.metrics import legal_metric
from sparring.testing.acting.victims import legal_victim
from sparring.testing.performance import Performance
from sparring.testing.subject import Subject

LEGALITY: Mapping[Kind, Callable[[Subject, Performance], None]] = {
    Kind.DATASET: legal_dataset,
    Kind.VICTIM: legal_victim,
    Kind.ATTACK: legal_attack,
    Kind.DEFENCE: legal_defence,
    Kind.METRIC: legal_metric,
}
"""Raise `RuleBroken`, in the words that a failed record would have."""


def broken_rule(subject: Subject, seen: Performance) -> str:
    """What is not legal about the answers; "" when all is well."""
    try:
        LEGALITY[subject.kind](subject, seen)
    except RuleBroken as broken:
        return str(broken)
    return ""
