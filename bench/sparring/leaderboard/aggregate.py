"""Records to tables."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparring.leaderboard.statistic import Statistic, pooled
from sparring.leaderboard.table import (
    Board,
    Column,
    Entry,
    ExpectedCell,
    Measure,
    MetricInfo,
    State,
    Table,
    TableCell,
)
from sparring.leaderboard.worst_case import worst_case
from sparring.record import Provenance, Record

CLEAN, ROBUST, ASR = "clean-accuracy", "robust-accuracy", "asr"


def aggregate(
    records: Iterable[Record],
    expected: Sequence[ExpectedCell] | None = None,
    metrics: Mapping[str, tuple[str, str, str]] | None = None,
    *,
    title: str = "",
    description: str = "",
    problems: Iterable[str] = (),
) -> Board:
    """The board that `records` make.

    Args:
        records: at most one for each cell id.
        expected: the suite's cells, in its order; `None`: the cells that have records, in natural order of labels.
        metrics: name -> (definition, direction, unit).
        problems: lines that could not be read.
    """
    by_id = {record.cell.id: record for record in records}
    cells = list(expected) if expected is not None else _told_by(by_id)
    known = _acts_by_attack(by_id.values())
    grids: dict[tuple[str, str], list[ExpectedCell]] = defaultdict(list)
    for cell in cells:
        grids[cell.dataset, cell.victim].append(cell)
    tables = tuple(_table(grid, by_id, known) for grid in grids.values())
    entries = [entry for table in tables for cell in table.distinct for entry in cell.entries]
    counts = Counter(entry.state for entry in entries)
    return Board(
        title=title,
        description=description,
        tables=tables,
        counts={state: counts[state] for state in State},
        metrics={name: MetricInfo(*info) for name, info in (metrics or {}).items()},
        provenances=_distinct(entry.record.provenance for entry in entries if entry.record is not None),
        strays=len(by_id.keys() - {cell.id for cell in cells}),
        problems=tuple(problems),
    )


def _told_by(by_id: Mapping[str, Record]) -> list[ExpectedCell]:
    cells = [ExpectedCell.told_by(record) for record in by_id.values()]
    return sorted(
        cells,
        key=lambda cell: (
            *(_natural(label) for label in (cell.dataset, cell.victim, cell.attack_label, cell.defence_label)),
            cell.repetition,
            cell.id,
        ),
    )


def _natural(label: str) -> list[tuple[float, str]]:
    """Orders `pgd[epsilon=0.05]` before `pgd[epsilon=0.1]`, and `none` before everything."""
    if label == "none":
        return []
    parts = re.split(r"(\d{1,15}(?:\.\d{1,15})?)", label)
    return [(float(part), "") if i % 2 else (-1.0, part) for i, part in enumerate(parts)]


def _acts_by_attack(records: Iterable[Record]) -> dict[str, tuple[str, str | None]]:
    """(when, goal) of each attack label, for cells of the suite that have no record yet."""
    return {record.cell.attack_label: _act(record) for record in records}


def _act(record: Record) -> tuple[str, str | None]:
    goal = record.cell.threat.get("goal")
    return record.cell.when, goal if isinstance(goal, str) else None


def _table(
    grid: Sequence[ExpectedCell], by_id: Mapping[str, Record], known: Mapping[str, tuple[str, str | None]]
) -> Table:
    rows = _none_first(cell.attack_label for cell in grid)
    columns = _columns(cell.defence_label for cell in grid)
    groups: dict[tuple[str, str], list[ExpectedCell]] = defaultdict(list)
    for cell in grid:
        groups[cell.attack_label, cell.defence_label].append(cell)
    made = {labels: _table_cell(group, by_id, known) for labels, group in groups.items()}
    cells = {}
    for row in rows:
        for column in columns:
            found = made.get((row, column.label)) or made.get((row, column.base))
            if found is not None:
                cells[row, column.label] = found
    distinct = tuple({id(cell): cell for cell in cells.values()}.values())
    worst = {}
    for column in columns:
        of_base = [cell for cell in distinct if _split_knowledge(cell.defence)[0] == column.base]
        if (found_worst := worst_case(of_base)) is not None:
            worst[column.label] = found_worst
    return Table(
        dataset=grid[0].dataset,
        victim=grid[0].victim,
        rows=rows,
        columns=columns,
        cells=cells,
        distinct=distinct,
        worst=worst,
    )


def _none_first(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(labels), key=lambda label: label != "none"))


def _split_knowledge(label: str) -> tuple[str, str]:
    base, _, knowledge = label.rpartition("@")
    return (base, knowledge) if base and knowledge in ("oblivious", "adaptive") else (label, "")


def _columns(labels: Iterable[str]) -> tuple[Column, ...]:
    """One a defence; of a guard that was attacked both ways, one for each way and none without."""
    ways: dict[str, set[str]] = defaultdict(set)
    for label in _none_first(labels):
        base, knowledge = _split_knowledge(label)
        ways[base].add(knowledge)
    columns = []
    for base, found in ways.items():
        for knowledge in sorted(found - {""}, reverse=True) or [""]:  # oblivious, then adaptive
            columns.append(Column(f"{base}@{knowledge}" if knowledge else base, base, knowledge))
    return tuple(columns)


def _table_cell(
    group: Sequence[ExpectedCell], by_id: Mapping[str, Record], known: Mapping[str, tuple[str, str | None]]
) -> TableCell:
    first = group[0]
    ordered = sorted(group, key=lambda cell: (cell.repetition, cell.id))
    entries = tuple(Entry(cell.id, cell.repetition, by_id.get(cell.id)) for cell in ordered)
    records = [entry.record for entry in entries if entry.record is not None]
    when, goal = _act(records[0]) if records else known.get(first.attack_label, (first.when, first.goal))
    threat = records[0].cell.threat if records else {}
    return TableCell(
        dataset=first.dataset,
        victim=first.victim,
        attack=first.attack_label,
        defence=first.defence_label,
        when=when,
        goal=goal,
        threat=threat,
        entries=entries,
        metrics=(metrics := _statistics(entries)),
        measures=tuple(_measures(when, goal, threat, metrics, entries)),
    )


def _statistics(entries: Sequence[Entry]) -> dict[str, Statistic]:
    values: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        for name, value in (entry.scored.metrics if entry.scored is not None else {}).items():
            values[name].append(value)
    return {name: Statistic(tuple(values[name])) for name in sorted(values)}


def _measures(
    when: str | None,
    goal: str | None,
    threat: Mapping[str, Any],
    metrics: Mapping[str, Statistic],
    entries: Sequence[Entry],
) -> Iterable[Measure]:
    """What a table shows of a cell, by what its attack is after."""
    if goal == "backdoor":
        shown = [(CLEAN, "CA"), (ASR, "ASR")]
    elif when == "training" and goal == "targeted":
        shown = [(ASR, "ASR")]
    elif when == "inference" and threat.get("budget") == "minimal":
        norm = threat.get("norm")
        shown = [(ROBUST, "RA"), (f"budget-{norm}-mean", {"linf": "L∞", "l2": "L2", "l0": "L0"}.get(str(norm), ""))]
    elif when == "inference":
        shown = [(ROBUST, "")]
    else:
        shown = [(CLEAN, "")]
    trials = [entry.scored.trials for entry in entries if entry.scored is not None and entry.scored.trials is not None]
    for metric, short in shown:
        if metric in metrics:
            told = pooled(trials) if metric == ASR and goal == "targeted" and trials else None
            yield Measure(metric, short, metrics[metric], told)


def _distinct(provenances: Iterable[Provenance]) -> tuple[Provenance, ...]:
    return tuple({provenance.model_dump_json(): provenance for provenance in provenances}.values())
