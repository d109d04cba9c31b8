"""The leaderboard in a terminal of 80 columns or more."""

from __future__ import annotations

import textwrap
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
NARROWEST: Final = 10
WIDEST_HEADING: Final = 15
WIDEST: Final = 24

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
    made = RichTable(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_footer=bool(table.worst), pad_edge=False
    )
    made.add_column("attack", Text("worst case", style="bold"), max_width=LABEL_WIDTH, overflow="fold")
    for column in columns:
        heading = _label(column.base, WIDEST_HEADING)
        heading.append(f"\n{column.knowledge}" if column.knowledge else "", style="italic not bold")
        footer = Text("\n".join(_worst_lines(table, column)), style="bold")
        made.add_column(heading, footer, justify="right", overflow="fold", width=_width(table, column))
    for row in table.rows:
        found = [table.cells.get((row, column.label)) for column in columns]
        made.add_row(_label(row, LABEL_WIDTH), *(_cell(cell) for cell in found))
    return made


def _label(label: str, width: int) -> Text:
    """The name, and its parameters on lines of their own."""
    name, params = wording.split_label(wording.printable(label))
    made = Text("\n".join(textwrap.wrap(name, width)))
    for param in params.split(", ") if params else ():
        made.append(f"\n {param}", style="dim not bold")
    return made


def _cell(cell: TableCell | None) -> Text:
    if cell is None:
        return Text("")
    style = "" if cell.scored else next((STYLES[state] for state in STYLES if cell.counts[state]), "")
    return Text("\n".join(_lines(cell)), style=style)


def _lines(cell: TableCell) -> list[str]:
    """A cell of several numbers takes a line for each; intervals are left to the files."""
    if not cell.scored:
        return [wording.symbols(cell)]
    numbers = []
    for measure in cell.measures:
        trials = measure.trials
        short = f"{measure.short} " if measure.short else ""
        spread = wording.spread(measure.statistic, measure.metric in wording.FRACTIONS)
        text = spread if trials is None else f"{trials.succeeded}/{trials.all}"
        numbers.append(short + text)
    return [*(numbers or ["scored"]), *([wording.remark(cell).strip()] if wording.remark(cell) else [])]


def _worst_lines(table: Table, column: Column) -> list[str]:
    worst = table.worst.get(column.label)
    if worst is None:
        return []
    few = [f"{worst.fewest} of {worst.eligible} attacks"] if worst.fewest < worst.eligible else []
    return [wording.spread(worst.statistic, True), *few]


def _width(table: Table, column: Column) -> int:
    """What the column's numbers and its heading need; a long heading folds."""
    found = [table.cells.get((row, column.label)) for row in table.rows]
    numbers = [line for cell in found if cell is not None for line in _lines(cell)] + _worst_lines(table, column)
    heading = [column.knowledge, *_label(column.base, WIDEST_HEADING).plain.split("\n")]
    widest = max([NARROWEST, *(len(line) for line in numbers), *(min(len(line), WIDEST_HEADING) for line in heading)])
    return min(WIDEST, widest)


def _pages(table: Table, width: int) -> Iterator[list[Column]]:
    """The columns, in as many tables as the width asks for."""
    page: list[Column] = []
    labels = [line for row in table.rows for line in _label(row, LABEL_WIDTH).plain.split("\n")]
    label_width = min(LABEL_WIDTH, max([len("worst case"), *(len(line) for line in labels)])) + 2
    used = label_width
    for column in table.columns:
        needed = _width(table, column) + 2
        if page and used + needed > width:
            yield page
            page, used = [], label_width
        page.append(column)
        used += needed
    yield page
