"""The whole extension surface. A hook returns declarations; nothing is registered by a side effect.

A distribution joins in through an entry point of the group `sparring` that names a module with these functions:

    [project.entry-points.sparring]
    my-plugins = "my_package"

Hooks are called once, when the catalogue is made; the last two, per cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from sparring.cell import Cell
    from sparring.plugin import AttackSpec, DatasetSpec, DefenceSpec, MetricSpec, VictimSpec
    from sparring.record import Outcome

PROJECT = "sparring"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def sparring_datasets() -> Iterable[DatasetSpec]:
    """Data sets of this plugin."""
    return ()


@hookspec
def sparring_victims() -> Iterable[VictimSpec]:
    """Victims of this plugin."""
    return ()


@hookspec
def sparring_attacks() -> Iterable[AttackSpec]:
    """Attacks of this plugin."""
    return ()


@hookspec
def sparring_defences() -> Iterable[DefenceSpec]:
    """Defences of this plugin."""
    return ()


@hookspec
def sparring_metrics() -> Iterable[MetricSpec]:
    """Metrics of this plugin."""
    return ()


@hookspec
def sparring_objections(cell: Cell) -> Iterable[str]:
    """Cited reasons why `cell` makes no sense; any of them makes it not applicable. Called while planning."""
    return ()


@hookspec
def sparring_cell_finished(cell: Cell, outcome: Outcome) -> None:
    """Called in the driver after the outcome of `cell` was journalled."""
    return
