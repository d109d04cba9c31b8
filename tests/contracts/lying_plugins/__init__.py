"""Plugins that lie about success, budget or queries, or break another rule; each breaks one."""

from __future__ import annotations

from collections.abc import Iterable

from lying_plugins import defences, evasions, measures, poisons, rounds, victims
from sparring.hookspecs import hookimpl
from sparring.plugin import AttackSpec, DefenceSpec, MetricSpec, VictimSpec


@hookimpl
def sparring_victims() -> Iterable[VictimSpec]:
    return victims.SPECS


@hookimpl
def sparring_attacks() -> Iterable[AttackSpec]:
    return (*evasions.SPECS, *poisons.SPECS, *rounds.SPECS)


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    return defences.SPECS


@hookimpl
def sparring_metrics() -> Iterable[MetricSpec]:
    return measures.SPECS
