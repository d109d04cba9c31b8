"""The leaderboard in a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sparring.leaderboard import wording
from sparring.leaderboard.table import Board, Column, State, Table, TableCell

LABEL_WIDTH: Final = 26
NARROWEST: Final = 11

STYLES: Final = {
    State.NOT_APPLICABLE: "dim",
    State.NOT_RUN: "dim",
    State.FAILED: "red",
    State.TIMED_OUT: "yellow",
}


def show(board: Board, console: Console, files: Sequence[Path] = ()) -> None:
    """Print every table with its worst case, one line of coverage, and where `files` lie."""
    for table in board.tables:
        for columns in _pages(table, console.width):
            console.print(_rich(table, columns))
    console.print(Text(_legend(board), style="dim"))
    if files:
        console.print(Text("Written: " + ", ".join(str(path) for path in files)), soft_wrap=True)


def _legend(board: Board) -> str:
    marks = [f"{symbol} {state.value}" for state, symbol in wording.SYMBOLS.items() if board.counts.get(state)]
    unit = "percent, mean ± standard deviation" if board.repetitions > 1 else "percent"
    warned = sum(len(cells) for _, _, cells in wording.warned_cells(board))
    parts = [wording.coverage(board), unit, *(["  ".join(marks)] if marks else [])]
    parts += [f"{wording.counted(warned, 'warning')}"] if warned else []
    parts += [f"{wording.counted(len(board.problems), 'unreadable line')}"] if board.problems else []
    return " · ".join(parts)


def _rich(table: Table, columns: Sequence[Column]) -> RichTable:
    title = Text(wording.printable(f"{table.dataset} · {table.victim}"), style="bold")
    made = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_footer=bool(table.worst), pad_edge=False)
    made.add_column("attack", Text("worst case", style="bold"), max_width=LABEL_WIDTH, overflow="fold")
    for column in columns:
        heading = "\n".join([wording.printable(column.base), *([column.knowledge] if column.knowledge else [])])
        worst = table.worst.get(column.label)
        footer = Text("" if worst is None else wording.worst_text(worst), style="bold")
        made.add_column(Text(heading), footer, justify="right", overflow="fold", min_width=_width(table, column))
    for row in table.rows:
        found = [table.cells.get((row, column.label)) for column in columns]
        made.add_row(Text(wording.printable(row)), *(_cell(cell) for cell in found))
    return made


def _cell(cell: TableCell | None) -> Text:
    if cell is None:
        return Text("")
    style = "" if cell.scored else next((STYLES[state] for state in STYLES if cell.counts[state]), "")
    return Text("\n".join(_lines(cell)), style=style)


def _lines(cell: TableCell) -> list[str]:
    """A cell of several numbers takes a line for each."""
    return wording.cell_text(cell).split(" / ")


def _width(table: Table, column: Column) -> int:
    """What the column's numbers need; its heading folds."""
    found = [table.cells.get((row, column.label)) for row in table.rows]
    worst = table.worst.get(column.label)
    texts = [line for cell in found if cell is not None for line in _lines(cell)]
    texts += [] if worst is None else [wording.worst_text(worst)]
    return min(24, max([NARROWEST, *(len(text) for text in texts)]))


def _pages(table: Table, width: int) -> Iterator[list[Column]]:
    """The columns, in as many tables as the width asks for."""
    page: list[Column] = []
    used = LABEL_WIDTH + 2
    for column in table.columns:
        needed = _width(table, column) + 2
        if page and used + needed > width:
            yield page
            page, used = [], LABEL_WIDTH + 2
        page.append(column)
        used += needed
    yield page
