"""The whole extension surface. A hook returns declarations; nothing is registered by a side effect.

A distribution joins in through an entry point of the group `sparring` that names a module with these functions:

    [project.entry-points.sparring]
    my-plugins = "my_package"

The docstring of each hook says what it returns, and when and in which process it is called: the driver is the process
of the command, workers are those that run stages.
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
    """Data sets of this plugin, as declarations.

    Called once in the driver and once in each worker, when plugins are looked up.
    """
    return ()


@hookspec
def sparring_victims() -> Iterable[VictimSpec]:
    """Victims of this plugin, as declarations.

    Called once in the driver and once in each worker, when plugins are looked up.
    """
    return ()


@hookspec
def sparring_attacks() -> Iterable[AttackSpec]:
    """Attacks of this plugin, as declarations.

    Called once in the driver and once in each worker, when plugins are looked up.
    """
    return ()


@hookspec
def sparring_defences() -> Iterable[DefenceSpec]:
    """Defences of this plugin, as declarations.

    Called once in the driver and once in each worker, when plugins are looked up.
    """
    return ()


@hookspec
def sparring_metrics() -> Iterable[MetricSpec]:
    """Metrics of this plugin, as declarations.

    Called once in the driver and once in each worker, when plugins are looked up.
    """
    return ()


@hookspec
def sparring_objections(cell: Cell) -> Iterable[str]:
    """Cited reasons why `cell` makes no sense; any of them makes it not applicable.

    Called in the driver, once for each cell of a suite, while it is planned and before anything runs.
    """
    return ()


@hookspec
def sparring_cell_finished(cell: Cell, outcome: Outcome) -> None:
    """Says that `cell` was scored, failed or is not applicable.

    Called in the driver, once for each cell of a run, after its record was written; not for cells scored before.
    """
    return
