"""What the details panel of index.html shows, as compact data: what many cells share is written once and referred to by
its number."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, Final

from sparring.leaderboard import wording
from sparring.leaderboard.labels import plugin_text
from sparring.leaderboard.suspicion import Suspicion
from sparring.leaderboard.table import Board, Entry, State, TableCell
from sparring.record import Failed

LARGEST_CONFUSION: Final = 20
"""Classes; larger matrices are left to the records, they would be most of the page."""

LONGEST_TRACEBACK: Final = 4000
"""Characters, the last ones: where the error is."""


class Pool:
    """JSON values, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Where `value` stands in `values`."""
        key = json.dumps(value)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


class PageData:
    """`as_json` is what page.js reads; its function `unpacked` is the other half of this class."""

    def __init__(self, board: Board) -> None:
        self.board = board
        names = ("places", "attacks", "defences", "threats", "layouts", "stages", "said", "warnings", "provenances")
        self.pools = {name: Pool() for name in names}
        self.suspicions: dict[int, list[Suspicion]] = defaultdict(list)
        for suspicion in board.suspicions:
            for cell in suspicion.cells:
                self.suspicions[id(cell)].append(suspicion)
        self.cells = [self._cell(cell) for cell in board.cells]

    def as_json(self) -> dict[str, Any]:
        present = {name for cell in self.board.cells for name in cell.metrics}
        definitions = {name: list(info) for name, info in self.board.metrics.items() if name in present}
        shared = {name: pool.values for name, pool in self.pools.items()}
        return {"metrics": definitions, "states": [state.value for state in State], **shared, "cells": self.cells}

    def _cell(self, cell: TableCell) -> dict[str, Any]:
        number = {name: pool.number for name, pool in self.pools.items()}
        records = [entry.record for entry in cell.entries if entry.record is not None]
        measured = [record for record in records if record.outcome.state != "not applicable"]
        warnings = [
            number["warnings"]([warning.id, warning.message])
            for entry in cell.entries
            for warning in (entry.scored.warnings if entry.scored is not None else ())
        ]
        warnings += [number["warnings"]([each.id, each.message]) for each in self.suspicions[id(cell)]]
        found: dict[str, Any] = {
            "p": number["places"]([cell.dataset, cell.victim]),
            "a": number["attacks"]([cell.attack, self.board.names.attack(cell.attack)]),
            "d": number["defences"]([cell.defence, self.board.names.plugin(cell.defence)]),
            "t": number["threats"]([[name, _threat_text(value)] for name, value in cell.threat.items()]),
            "r": wording.cell_text(cell),
            "e": [self._entry(cell, entry) for entry in cell.entries],
            "w": list(dict.fromkeys(warnings)),
            "v": sorted({number["provenances"](wording.facts([record.provenance])) for record in measured}),
        }
        return found | self._metrics(cell) | _confusion(cell)

    def _metrics(self, cell: TableCell) -> dict[str, Any]:
        """The layout (names), a text for each, and the single values where there are several repetitions."""
        texts, values = [], []
        for name, statistic in cell.metrics.items():
            percentage = wording.is_percentage(self.board, name)
            show = wording.percent if percentage else wording.plain
            texts.append(wording.spread(statistic, percentage))
            values.append("" if statistic.n == 1 else " ".join(show(value) for value in statistic.values))
        found: dict[str, Any] = {"l": self.pools["layouts"].number(list(cell.metrics)), "m": texts}
        return found | ({"n": values} if any(values) else {})

    def _entry(self, cell: TableCell, entry: Entry) -> list[Any]:
        """[repetition, state, what was said, stages, their seconds, traceback, id]: the last two only where needed."""
        outcome = entry.record.outcome if entry.record is not None else None
        traceback = outcome.traceback if isinstance(outcome, Failed) else ""
        if len(traceback) > LONGEST_TRACEBACK:
            traceback = "…" + traceback[-LONGEST_TRACEBACK:]
        seconds = entry.record.seconds if entry.record is not None else {}
        usual = "/".join((cell.dataset, cell.victim, cell.attack, cell.defence, f"r{entry.repetition}"))
        found = [
            entry.repetition,
            list(State).index(entry.state),
            self.pools["said"].number(list(entry.said)),
            self.pools["stages"].number(list(seconds)),
            " ".join(f"{time:.2f}" for time in seconds.values()),
        ]
        rest = [traceback, "" if entry.id == usual else entry.id]
        return found + (rest if any(rest) else [])


def _threat_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return plugin_text(f"={value!r}")[1:] if isinstance(value, float) else str(value)


def _confusion(cell: TableCell) -> dict[str, str]:
    """Summed over the repetitions, row by row, zeros left out; nothing when there is none, or too large to show."""
    found = [entry.scored.confusion for entry in cell.entries if entry.scored is not None]
    if not found or len(found[0]) > LARGEST_CONFUSION or any(len(matrix) != len(found[0]) for matrix in found):
        return {}
    counts = [sum(same) for rows in zip(*found, strict=True) for same in zip(*rows, strict=True)]
    return {"c": ",".join(str(count) if count else "" for count in counts)} if counts else {}
