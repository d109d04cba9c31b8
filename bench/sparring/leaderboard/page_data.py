"""What the details panel of index.html shows, as compact data: what many cells share is written once and referred to by
its number."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from sparring.leaderboard import wording
from sparring.leaderboard.comparison import Compared, Twins
from sparring.leaderboard.labels import plugin_text
from sparring.leaderboard.suspicion import Suspicion
from sparring.leaderboard.table import Board, Entry, State, TableCell
from sparring.record import Failed

LARGEST_CONFUSION: Final = 20
"""Classes; larger matrices are left to the records, they would be most of the page."""

LONGEST_TRACEBACK: Final = 4000
"""Characters, the last ones: where the error is."""


SIZES: Final = ("epsilon", "poison_fraction", "query_budget")
"""Threat fields that say how much an attack is allowed."""


POOLED: Final = (
    "places",
    "attacks",
    "defences",
    "threats",
    "layouts",
    "stages",
    "said",
    "warnings",
    "provenances",
    "contrasts",
)


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
        self.pools = {name: Pool() for name in POOLED}
        self.suspicions: dict[int, list[Suspicion]] = defaultdict(list)
        for suspicion in board.suspicions:
            for cell in suspicion.cells:
                self.suspicions[id(cell)].append(suspicion)
        self.twins = Twins(board)
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
            "t": number["threats"]([threat_words(cell.threat), *_threat_pairs(cell.threat)]),
            "r": wording.cell_text(cell),
            "e": [self._entry(cell, entry) for entry in cell.entries],
            "w": list(dict.fromkeys(warnings)),
            "v": sorted({number["provenances"](wording.facts([record.provenance])) for record in measured}),
        }
        compared = [self._compared(each) for each in self.twins.compared(cell)]
        return found | self._metrics(cell) | ({"x": compared} if compared else {}) | _confusion(cell)

    def _compared(self, found: Compared) -> list[Any]:
        """[metric and against what, number, ends of the 95 % interval]."""
        percentage = wording.is_percentage(self.board, found.metric)
        show = wording.percent if percentage else wording.plain
        ends = [show(_within(found, end) if percentage else end) for end in found.interval or ()]
        return [self.pools["contrasts"].number([found.metric, found.against]), show(found.mean), *ends]

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


def _within(found: Compared, end: float) -> float:
    """What a share, or the difference of two, can be."""
    return min(1.0, max(-1.0 if found.against else 0.0, end))


def threat_words(threat: Mapping[str, Any]) -> str:
    """ "inference evasion, white-box, linf, epsilon 0.1": a threat model in a few words."""
    words = " ".join(str(threat[name]) for name in ("when", "goal") if name in threat) or "no attack"
    more = [str(threat[name]) for name in ("knowledge", "norm") if name in threat]
    more += [f"{name.replace('_', ' ')} {_threat_text(threat[name])}" for name in SIZES if name in threat]
    return ", ".join([words, *more])


def _threat_pairs(threat: Mapping[str, Any]) -> list[list[str]]:
    return [[name, _threat_text(value)] for name, value in threat.items()]


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
