"""A board's tables for a paper: LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sparring.leaderboard import wording
from sparring.leaderboard.omitted import applicable
from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import Board, Column, State, Table

SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
MISSING: Final = {State.NOT_APPLICABLE: "--", State.FAILED: "failed", State.TIMED_OUT: "timed out", State.NOT_RUN: ""}


def latex(board: Board) -> str:
    """One table environment for each data set and victim; needs the package booktabs.

    Percent, mean and standard deviation over repetitions. Nothing is bold: the highest number of a row need not be
    the best, the board's summary says what can be told apart.
    """
    head = [
        f"% {_text(board.title)}: {_text(wording.coverage(board))}.",
        r"% \usepackage{booktabs}; \usepackage[T1]{fontenc}",
    ]
    blocks = ["\n".join(_table(board, table)) for table in board.tables if applicable(table).rows]
    return "\n\n".join(["\n".join(head), *blocks]) + "\n"


def _table(board: Board, table: Table) -> Iterator[str]:
    shown = applicable(table)
    columns = shown.columns
    yield r"\begin{table}"
    yield r"\centering"
    repetitions = wording.counted(board.repetitions, "repetition")
    yield rf"\caption{{{_text(wording.title(table))}: percent, mean $\pm$ standard deviation over {repetitions}.}}"
    yield rf"\begin{{tabular}}{{l{'r' * len(columns)}}}"
    yield r"\toprule"
    yield _row(["attack", *(_heading(table, column) for column in columns)])
    yield r"\midrule"
    for row in shown.rows:
        cells = [_cell(table, row, column) for column in columns]
        yield _row([rf"\texttt{{{_text(table.names.attack(row))}}}", *cells])
    if table.worst:
        yield r"\midrule"
        yield _row(["worst case", *(_worst(table, column) for column in columns)])
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table}"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _heading(table: Table, column: Column) -> str:
    name = rf"\texttt{{{_text(table.names.plugin(column.base))}}}"
    return f"{name} ({column.knowledge})" if column.knowledge else name


def _cell(table: Table, row: str, column: Column) -> str:
    cell = table.cells.get((row, column.label))
    if cell is None:
        return ""
    if not cell.scored:
        return ", ".join(filter(None, (MISSING[state] for state in State if cell.counts[state] and state in MISSING)))
    numbers = [
        f"{measure.short} {_number(measure.statistic, measure.metric)}".strip().replace("L∞", r"$L_\infty$")
        for measure in cell.measures
    ]
    return " / ".join(numbers)


def _number(statistic: Statistic, metric: str) -> str:
    return wording.spread(statistic, metric in wording.FRACTIONS).replace("±", r"$\pm$").replace("-", "$-$")


def _worst(table: Table, column: Column) -> str:
    worst = table.worst.get(column.label)
    return "" if worst is None else _number(worst.statistic, "robust-accuracy")


def _text(text: str) -> str:
    """`text` as itself, on one line."""
    flat = wording.printable(" ".join(text.split())).replace("·", r"$\cdot$")
    pieces = re.split(r"(\$\\cdot\$)", flat)
    return "".join(piece if i % 2 else "".join(SPECIAL.get(c, c) for c in piece) for i, piece in enumerate(pieces))
