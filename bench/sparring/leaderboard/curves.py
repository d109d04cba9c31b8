"""Accuracy over epsilon, and over the fraction of poisoned rows: a figure for each attack that was run with several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sparring.leaderboard.labels import joined, split_attack
from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import Board, Column, Table, TableCell

AXES: Final = {"epsilon": "eps", "poison_fraction": "fraction"}
"""Threat field -> what labels call it."""


@dataclass(frozen=True, slots=True)
class Series:
    """A defence: (x, accuracy over the repetitions), by x. x = 0 is the accuracy without the attack."""

    defence: str
    points: tuple[tuple[float, Statistic], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure.

    Attributes:
        place: data set and victim, as people read them.
        attack: its label without what the axis shows.
        axis: "epsilon", with its norm, or "poison fraction".
        metric: "robust accuracy" or "clean accuracy".
    """

    place: str
    attack: str
    axis: str
    metric: str
    series: tuple[Series, ...]


def curves(board: Board) -> list[Curve]:
    """In the order of the tables."""
    return [curve for table in board.tables for field in AXES for curve in _of_table(table, field)]


def _of_table(table: Table, field: str) -> Iterator[Curve]:
    rows: dict[str, dict[float, str]] = defaultdict(dict)
    for row in table.rows:
        x = _first(table, row).threat.get(field)
        if isinstance(x, int | float) and not isinstance(x, bool):
            rows[_without(row, AXES[field])][float(x)] = row
    for attack, by_x in rows.items():
        series = [found for column in table.columns if (found := _series(table, column, by_x)) is not None]
        if series and len(by_x) > 1:
            first = _first(table, next(iter(by_x.values())))
            yield Curve(
                place=f"{table.names.plugin(table.dataset)} · {table.names.plugin(table.victim)}",
                attack=table.names.attack(attack),
                axis=_axis(field, first),
                metric=_metric(first).replace("-", " "),
                series=tuple(series),
            )


def _first(table: Table, row: str) -> TableCell:
    """A cell of the row; all have one threat model but for what the attacker knows."""
    return next(table.cells[row, column.label] for column in table.columns if (row, column.label) in table.cells)


def _series(table: Table, column: Column, by_x: dict[float, str]) -> Series | None:
    """Of one defence; a guard's second column is left out where it repeats the first."""
    points = []
    for x, row in sorted(by_x.items()):
        cell = table.cells.get((row, column.label))
        if cell is not None and cell.scored and _metric(cell) in cell.metrics and not table.repeats(row, column):
            points.append((x, cell.metrics[_metric(cell)]))
    if len(points) < 2:
        return None
    clean = table.cells.get(("none", column.label)) or table.cells.get(("none", column.base))
    if clean is not None and "clean-accuracy" in clean.metrics and 0.0 not in by_x:
        points.insert(0, (0.0, clean.metrics["clean-accuracy"]))
    name = table.names.plugin(column.base)
    return Series(f"{name}, {column.knowledge}" if column.knowledge else name, tuple(points))


def _metric(cell: TableCell) -> str:
    return "robust-accuracy" if cell.when == "inference" else "clean-accuracy"


def _axis(field: str, cell: TableCell) -> str:
    norm = {"linf": "L∞", "l2": "L2", "l0": "L0"}.get(str(cell.threat.get("norm")), "")
    return "poison fraction" if field == "poison_fraction" else f"epsilon ({norm})" if norm else "epsilon"


def _without(label: str, key: str) -> str:
    name, params = split_attack(label)
    return joined((name, tuple(param for param in params if not param.startswith(f"{key}="))))
