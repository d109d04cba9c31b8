"""One small, real method for each contract: what a third-party distribution looks like."""

from __future__ import annotations

from collections.abc import Iterable

from contract_plugins import (
    blurred_doubt,
    boost,
    collision,
    copies,
    fedavg,
    frozen,
    linear_certificate,
    nearest_distance,
    neighbour_filter,
    noisy_levels,
    oracle_filter,
    partition_votes,
    patterns,
    shortest_path,
    trigger_search,
    warp,
)
from sparring.hookspecs import hookimpl
from sparring.plugin import AttackSpec, DefenceSpec, VictimSpec


@hookimpl
def sparring_victims() -> Iterable[VictimSpec]:
    return (fedavg.SPEC, frozen.SPEC)


@hookimpl
def sparring_attacks() -> Iterable[AttackSpec]:
    return (copies.SPEC, warp.SPEC, patterns.SPEC, collision.SPEC, boost.SPEC, shortest_path.SPEC)


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    return (
        oracle_filter.SPEC,
        neighbour_filter.SPEC,
        partition_votes.SPEC,
        trigger_search.SPEC,
        noisy_levels.SPEC,
        nearest_distance.SPEC,
        linear_certificate.SPEC,
        blurred_doubt.SPEC,
    )
