"""The board's table.csv: one line for each attack × defence, to calculate with."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from sparring.leaderboard.aggregate import ROBUST
from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import Board, State, TableCell
from sparring.threat import ThreatModel

THREAT = tuple(field.name for field in fields(ThreatModel))


def table_csv(board: Board) -> str:
    """All of table.csv. Fractions stay in [0, 1]; every metric has the columns mean, std (ddof = 1) and n.

    Lines whose `row` is "worst case" hold the worst case over attacks as `robust-accuracy`.
    """
    metrics = sorted({name for cell in board.cells for name in cell.metrics})
    if any(table.worst for table in board.tables):
        metrics = sorted({*metrics, ROBUST})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    states = [state.value.replace(" ", "_") for state in State]
    writer.writerow(
        ["row", "dataset", "victim", "attack", "defence", *THREAT, "expected", *states]
        + [_safe(f"{name} {part}") for name in metrics for part in ("mean", "std", "n")]
    )
    writer.writerows(_lines(board, metrics))
    return out.getvalue()


def _lines(board: Board, metrics: list[str]) -> Iterator[list[str]]:
    for table in board.tables:
        for cell in table.distinct:
            labels = [_safe(text) for text in (cell.dataset, cell.victim, cell.attack, cell.defence)]
            numbers = [text for name in metrics for text in _numbers(cell.metrics.get(name))]
            yield ["cell", *labels, *_threat(cell), str(cell.expected), *_counts(cell), *numbers]
        for base in dict.fromkeys(column.base for column in table.columns):
            column = next(column for column in table.columns if column.base == base)
            if (worst := table.worst.get(column.label)) is not None:
                labels = [_safe(text) for text in (table.dataset, table.victim, "", base)]
                numbers = [text for name in metrics for text in _numbers(worst.statistic if name == ROBUST else None)]
                yield ["worst case", *labels, *("" for _ in THREAT), *("" for _ in range(1 + len(State))), *numbers]


def _threat(cell: TableCell) -> list[str]:
    stated = {"when": cell.when, "goal": cell.goal, **cell.threat}
    return [_value(stated.get(name)) for name in THREAT]


def _counts(cell: TableCell) -> list[str]:
    return [str(cell.counts[state]) for state in State]


def _numbers(statistic: Statistic | None) -> tuple[str, str, str]:
    if statistic is None:
        return "", "", ""
    std = statistic.std
    return f"{statistic.mean:.6g}", "" if std is None else f"{std:.6g}", str(statistic.n)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, int | float) else _safe(str(value))


def _safe(text: str) -> str:
    """`text` as a spreadsheet shows it and never runs it: formulas are quoted."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) or text.startswith(("\t", "\r", "\n")) else text
