"""The board's index.html: one self-contained file, readable without a network and without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from sparring.leaderboard import wording
from sparring.leaderboard.aggregate import ASR, CLEAN, ROBUST
from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import Board, Column, Entry, State, Table, TableCell, WorstCase
from sparring.record import Failed

LARGEST_CONFUSION: Final = 20
"""Classes; larger matrices are left to the records, they would be most of the page."""

LONGEST_TRACEBACK: Final = 4000
"""Characters, the last ones: where the error is."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One cell as the page draws it. `strength` (0 to 100) and `side` place its colour: "hold" when the defender does
    better than even, "fall" when worse, "" without a number."""

    index: int
    cell: TableCell
    lines: tuple[tuple[str, str, str], ...]
    side: str
    strength: int
    state: str
    wide: int = 1


def page(board: Board) -> str:
    """All of index.html: the same bytes for the same board."""
    index = {id(cell): i for i, cell in enumerate(board.cells)}
    script = Markup(_template_text("page.js"))
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"printable": wording.printable, "breakable": _breakable}
    return environment.from_string(_template_text("page.html.j2")).render(
        board=board,
        style=Markup(_template_text("page.css")),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_embedded(_data(board)),
        grids=[_grid(table, index) for table in board.tables],
        listed=[_listed(cell, index[id(cell)]) for cell in board.cells],
        states=[state.value for state in State if board.counts.get(state)],
        tiles=_tiles(board),
        facts=wording.facts(board.provenances),
        silent=wording.silent_cells(board),
        warned=wording.warned_cells(board),
        symbols={state.value: symbol for state, symbol in wording.SYMBOLS.items() if board.counts.get(state)},
        counted=wording.counted,
    )


def _template_text(name: str) -> str:
    return (files("sparring.leaderboard") / "templates" / name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """A selector's parameters, escaped, with places where a narrow column may break them."""
    return Markup(re.sub("_", "_<wbr>", str(Markup.escape(wording.printable(text)))))


def _embedded(data: Any) -> Markup:
    """JSON that may stand inside a script element: no tag, comment or line separator can end or open anything."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _tiles(board: Board) -> list[tuple[str, str]]:
    """(number, what it counts) for the head of the page."""
    rows = {row for table in board.tables for row in table.rows}
    columns = {column.base for table in board.tables for column in table.columns}
    covered = board.counts.get(State.SCORED, 0)
    datasets, victims = {table.dataset for table in board.tables}, {table.victim for table in board.tables}
    return [
        (f"{covered} / {board.expected}", "cells scored"),
        *((str(board.counts[state]), state.value) for state in wording.SYMBOLS if board.counts.get(state)),
        (str(len(datasets)), "data sets" if len(datasets) != 1 else "data set"),
        (str(len(victims)), "victims" if len(victims) != 1 else "victim"),
        (str(len(rows)), "attacks" if len(rows) != 1 else "attack"),
        (str(len(columns)), "defences" if len(columns) != 1 else "defence"),
        (str(board.repetitions), "repetitions" if board.repetitions != 1 else "repetition"),
    ]


def _grid(table: Table, index: Mapping[int, int]) -> dict[str, Any]:
    """One heat map, as the template draws it."""
    rows = [
        (wording.split_label(row), [_shown_at(table, row, column, index) for column in table.columns])
        for row in table.rows
    ]
    return {
        "title": f"{table.dataset} · {table.victim}",
        "columns": [(wording.split_label(column.base), column.knowledge) for column in table.columns],
        "rows": rows,
        "worst": list(_worst_row(table)),
    }


def _shown_at(table: Table, row: str, column: Column, index: Mapping[int, int]) -> Shown | None:
    cell = table.cells.get((row, column.label))
    return None if cell is None else _shown(cell, index[id(cell)])


def _shown(cell: TableCell, index: int) -> Shown:
    lines = []
    for measure in cell.measures:
        number, _, rest = wording.measure(measure).removeprefix(f"{measure.short} ").partition(" ")
        lines.append((measure.short, number, rest))
    states = [state for state in State if cell.counts[state]]
    state = State.SCORED if cell.scored else states[0]
    side, strength = _heat(_defended(cell)) if cell.scored else ("", 0)
    return Shown(index, cell, tuple(lines), side, strength, state.value)


def _defended(cell: TableCell) -> float | None:
    """How well the defender did, in [0, 1]: the least of accuracies and of 1 - attack success rates. Nothing where
    distortion is the result."""
    if cell.threat.get("budget") == "minimal":
        return None
    shares = [
        1 - measure.statistic.mean if measure.metric == ASR else measure.statistic.mean
        for measure in cell.measures
        if measure.metric in (CLEAN, ROBUST, ASR)
    ]
    return min(shares, default=None)


def _heat(share: float | None) -> tuple[str, int]:
    if share is None:
        return "", 0
    bounded = min(1.0, max(0.0, share))
    return ("hold" if bounded >= 0.5 else "fall"), round(abs(bounded - 0.5) * 200)


def _worst_row(table: Table) -> Iterator[dict[str, Any]]:
    """A guard's two columns share one worst case."""
    for column in table.columns:
        if column.knowledge == "adaptive" and f"{column.base}@oblivious" in table.worst:
            continue
        wide = sum(other.base == column.base for other in table.columns)
        worst = table.worst.get(column.label)
        if worst is None:
            yield {"wide": wide, "number": "", "rest": "", "side": "", "strength": 0, "note": ""}
            continue
        number, _, rest = wording.spread(worst.statistic, True).partition(" ")
        side, strength = _heat(worst.statistic.mean)
        yield {
            "wide": wide, "number": number, "rest": rest, "side": side, "strength": strength, "note": _entered(worst)
        }  # fmt: skip


def _entered(worst: WorstCase) -> str:
    every = worst.fewest >= worst.eligible
    return wording.counted(worst.eligible, "attack") if every else f"{worst.fewest} of {worst.eligible} attacks"


def _listed(cell: TableCell, index: int) -> dict[str, Any]:
    """One line of the long table. Sort keys are numbers; -1 where there is none."""
    columns = []
    for metric in (CLEAN, ROBUST, ASR):
        statistic = cell.metrics.get(metric)
        columns.append(
            (wording.spread(statistic, True) if statistic else "", f"{statistic.mean:.6f}" if statistic else "-1")
        )
    states = [state.value for state in State if cell.counts[state]]
    return {"index": index, "cell": cell, "numbers": columns, "states": states}


def _data(board: Board) -> dict[str, Any]:
    """What the details panel shows; everything is text or numbers."""
    provenances = {provenance.model_dump_json(): i for i, provenance in enumerate(board.provenances)}
    definitions = {name: list(info) for name, info in board.metrics.items()}
    return {
        "metrics": definitions,
        "provenances": [wording.facts([provenance]) for provenance in board.provenances],
        "cells": [_cell_data(board, cell, provenances) for cell in board.cells],
    }


def _cell_data(board: Board, cell: TableCell, provenances: Mapping[str, int]) -> dict[str, Any]:
    records = [entry.record for entry in cell.entries if entry.record is not None]
    metrics = [
        [name, *_statistic_data(statistic, wording.is_percentage(board, name))]
        for name, statistic in cell.metrics.items()
    ]
    warnings = {
        (warning.id, warning.message): None
        for entry in cell.entries
        for warning in (entry.scored.warnings if entry.scored is not None else ())
    }
    threat = [[name, str(value)] for name, value in cell.threat.items()]
    return {
        "place": [cell.dataset, cell.victim],
        "attack": cell.attack,
        "defence": cell.defence,
        "result": wording.cell_text(cell),
        "threat": threat,
        "metrics": metrics,
        "entries": [_entry_data(entry) for entry in cell.entries],
        "warnings": [list(warning) for warning in warnings],
        "confusion": _confusion(cell),
        "provenance": sorted({provenances[record.provenance.model_dump_json()] for record in records}),
    }


def _statistic_data(statistic: Statistic, percentage: bool) -> list[Any]:
    """[mean ± std, n, each value]."""
    show = wording.percent if percentage else wording.plain
    return [wording.spread(statistic, percentage), statistic.n, [show(value) for value in statistic.values]]


def _entry_data(entry: Entry) -> dict[str, Any]:
    outcome = entry.record.outcome if entry.record is not None else None
    traceback = outcome.traceback if isinstance(outcome, Failed) else ""
    if len(traceback) > LONGEST_TRACEBACK:
        traceback = "…" + traceback[-LONGEST_TRACEBACK:]
    seconds = entry.record.seconds if entry.record is not None else {}
    return {
        "id": entry.id,
        "state": entry.state.value,
        "said": list(entry.said),
        "traceback": traceback,
        "seconds": [[stage, f"{time:.2f}"] for stage, time in seconds.items()],
    }


def _confusion(cell: TableCell) -> list[list[int]]:
    """Summed over the repetitions; empty when there is none, or too large to show."""
    found = [entry.scored.confusion for entry in cell.entries if entry.scored is not None]
    if not found or len(found[0]) > LARGEST_CONFUSION or any(len(matrix) != len(found[0]) for matrix in found):
        return []
    return [[sum(counts) for counts in zip(*rows, strict=True)] for rows in zip(*found, strict=True)]
