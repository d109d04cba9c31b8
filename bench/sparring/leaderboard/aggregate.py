"""Records to tables."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparring.leaderboard.labels import Names
from sparring.leaderboard.papers import PaperTable, beside_papers
from sparring.leaderboard.statistic import Statistic, pooled
from sparring.leaderboard.suspicion import suspicions
from sparring.leaderboard.table import (
    WAYS,
    Board,
    Column,
    Entry,
    ExpectedCell,
    Measure,
    MetricInfo,
    State,
    Table,
    TableCell,
    split_knowledge,
)
from sparring.leaderboard.worst_case import worst_case
from sparring.record import Provenance, Record, Scored

CLEAN, ROBUST, ASR = "clean-accuracy", "robust-accuracy", "asr"


def aggregate(
    records: Iterable[Record],
    expected: Sequence[ExpectedCell] | None = None,
    metrics: Mapping[str, tuple[str, str, str]] | None = None,
    *,
    title: str = "",
    description: str = "",
    papers: Sequence[PaperTable] = (),
    controls: Sequence[str] = (),
    problems: Iterable[str] = (),
) -> Board:
    """The board that `records` make.

    Args:
        records: at most one for each cell id.
        expected: the suite's cells, in its order; `None`: the cells that have records, in natural order of labels.
        metrics: name -> (definition, direction, unit).
        papers: tables of papers that ours are compared with.
        controls: patterns over attacks and defences that do not compete.
        problems: lines that could not be read.
    """
    by_id = {record.cell.id: record for record in records}
    cells = list(expected) if expected is not None else _told_by(by_id)
    known = _acts_by_attack(by_id.values())
    grids: dict[tuple[str, str], list[ExpectedCell]] = defaultdict(list)
    for cell in cells:
        grids[cell.dataset, cell.victim].append(cell)
    names = _names(cells)
    tables = tuple(_table(grid, by_id, known, names) for grid in grids.values())
    entries = [entry for table in tables for cell in table.distinct for entry in cell.entries]
    found = [entry.record for entry in entries if entry.record is not None]
    scored = [record for record in found if isinstance(record.outcome, Scored)]
    counts = Counter(entry.state for entry in entries)
    return Board(
        title=" ".join(title.split()),
        description=" ".join(description.split()),
        tables=tables,
        counts={state: counts[state] for state in State},
        metrics={name: MetricInfo(*info) for name, info in (metrics or {}).items()},
        provenances=_distinct(record.provenance for record in scored or found),
        papers=beside_papers(papers, tables, {name: unit for name, (_, _, unit) in (metrics or {}).items()}),
        controls=tuple(controls),
        names=names,
        suspicions=tuple(each for table in tables for each in suspicions(table)),
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


def _names(cells: Sequence[ExpectedCell]) -> Names:
    others = ((cell.dataset, cell.victim, split_knowledge(cell.defence_label)[0]) for cell in cells)
    return Names.of((cell.attack_label for cell in cells), (label for labels in others for label in labels))


def _table(
    grid: Sequence[ExpectedCell],
    by_id: Mapping[str, Record],
    known: Mapping[str, tuple[str, str | None]],
    names: Names,
) -> Table:
    rows = _none_first(cell.attack_label for cell in grid)
    groups: dict[tuple[str, str], list[ExpectedCell]] = defaultdict(list)
    for cell in grid:
        groups[cell.attack_label, cell.defence_label].append(cell)
    made = {labels: _table_cell(group, by_id, known) for labels, group in groups.items()}
    columns = _columns(_none_first(cell.defence_label for cell in grid), made.values())
    cells = {}
    for row in rows:
        for column in columns:
            # where a guard has one column, an attack that makes no sense either way is shown as the first of both
            ways = (column.label, column.base, *(f"{column.base}@{way}" for way in WAYS if not column.knowledge))
            if (found := next((made[row, way] for way in ways if (row, way) in made), None)) is not None:
                cells[row, column.label] = found
    distinct = _in_order(made.values(), rows, columns)
    worst = {}
    for column in columns:
        of_base = [cell for cell in distinct if cell.base == column.base]
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
        names=names,
    )


def _none_first(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(labels), key=lambda label: label != "none"))


def _columns(labels: Iterable[str], cells: Iterable[TableCell]) -> tuple[Column, ...]:
    """One a defence; of a guard two where any attack that makes sense is told whether it knows the guard."""
    ways: dict[str, set[str]] = {}
    for label in labels:
        ways.setdefault(split_knowledge(label)[0], set())
    for cell in cells:
        base, knowledge = split_knowledge(cell.defence)
        if knowledge and not cell.not_applicable:
            ways[base].add(knowledge)
    return tuple(
        Column(f"{base}@{way}" if way else base, base, way)
        for base, found in ways.items()
        for way in sorted(found, key=WAYS.index) or [""]
    )


def _in_order(cells: Iterable[TableCell], rows: Sequence[str], columns: Sequence[Column]) -> tuple[TableCell, ...]:
    """Every cell once, by row and column; what is common to a guard's ways before what is not."""
    row_of = {row: i for i, row in enumerate(rows)}
    column_of = {base: i for i, base in enumerate(dict.fromkeys(column.base for column in columns))}
    way_of = {way: i for i, way in enumerate(("", *WAYS))}

    def place(cell: TableCell) -> tuple[int, int, int]:
        base, knowledge = split_knowledge(cell.defence)
        return row_of[cell.attack], column_of[base], way_of[knowledge]

    return tuple(sorted(cells, key=place))


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
