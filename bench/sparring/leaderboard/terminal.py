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
from sparring.leaderboard.omitted import applicable
from sparring.leaderboard.table import DETAILED, Board, Column, State, Table, TableCell
from sparring.leaderboard.terminal_papers import print_papers
from sparring.leaderboard.terminal_summary import print_summary

LABEL_WIDTH: Final = 30
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
    """Print every table with its worst case, for several tables the summary, one line of coverage, and where `files`
    lie."""
    for table in board.tables:
        _print(table, console)
    if len(board.tables) > 1:
        print_summary(board, console)
    print_papers(board, console)
    console.print(Text(_legend(board), style="dim"))
    if not board.detailed:
        console.print(Text(f"More than {DETAILED:,} cells: index.html leaves out what is behind each.", style="dim"))
    if files:
        console.print(Text("Written: " + ", ".join(str(path) for path in files)), soft_wrap=True)


def _print(table: Table, console: Console) -> None:
    shown = applicable(table)
    console.print(Text(wording.printable(wording.title(table)), style="bold"), end="\n\n")
    if shown.rows and shown.columns:
        for columns in _pages(table, shown.rows, shown.columns, console.width):
            console.print(_rich(table, shown.rows, columns))
            console.print()
    if shown.omitted:
        console.print(Text(wording.printable(shown.omitted), style="dim"), end="\n\n")


def _legend(board: Board) -> str:
    marks = [f"{symbol} {state.value}" for state, symbol in wording.SYMBOLS.items() if board.counts.get(state)]
    if any(table.repeats(row, column) for table in board.tables for row in table.rows for column in table.columns):
        marks.append(f"{wording.SAME} as oblivious")
    unit = "percent, mean ± standard deviation" if board.repetitions > 1 else "percent"
    warned = sum(len(cells) for _, _, cells in wording.warned_cells(board))
    parts = [wording.coverage(board), unit, *(["  ".join(marks)] if marks else [])]
    parts += [f"{wording.counted(warned, 'warning')}"] if warned else []
    parts += [f"{wording.counted(len(board.problems), 'unreadable line')}"] if board.problems else []
    return " · ".join(parts)


def _rich(table: Table, rows: Sequence[str], columns: Sequence[Column]) -> RichTable:
    made = RichTable(
        box=box.SIMPLE_HEAD, show_footer=bool(table.worst), show_edge=False, pad_edge=False, collapse_padding=True
    )
    made.add_column("attack", Text("worst case", style="bold"), max_width=LABEL_WIDTH, overflow="fold")
    for column in columns:
        heading = _heading(table, column.base)
        heading.append(f"\n{column.knowledge}" if column.knowledge else "", style="italic not bold")
        footer = Text("\n".join(_worst_lines(table, column)), style="bold")
        made.add_column(heading, footer, justify="right", overflow="fold", width=_width(table, rows, column))
    for row in rows:
        made.add_row(_row_label(table, row), *(_cell(table, row, column) for column in columns))
    return made


def _row_label(table: Table, label: str) -> Text:
    """`pgd[eps=0.1,steps=20]`; what is too long, as name and parameters on lines of their own."""
    name, params = table.names.attack_parts(wording.printable(label))
    whole = f"{name}[{','.join(params)}]" if params else name
    if len(whole) <= LABEL_WIDTH:
        return Text(name).append(whole.removeprefix(name), style="dim")
    return _broken(name, params, LABEL_WIDTH)


def _heading(table: Table, label: str) -> Text:
    return _broken(*table.names.plugin_parts(wording.printable(label)), WIDEST_HEADING)


def _broken(name: str, params: Sequence[str], width: int) -> Text:
    """The name, and below it the parameters, as many on a line as fit."""
    made = Text("\n".join(textwrap.wrap(name, width)))
    for line in textwrap.wrap(" ".join(params), width - 1, break_on_hyphens=False):
        made.append(f"\n {line}", style="dim not bold")
    return made


def _cell(table: Table, row: str, column: Column) -> Text:
    cell = table.cells.get((row, column.label))
    if cell is None:
        return Text("")
    if table.repeats(row, column):
        return Text(wording.SAME, style="dim")
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
    """The worst case, once for a guard: it is over both ways of attacking it."""
    worst = table.worst.get(column.label)
    if worst is None:
        return []
    if column.knowledge == "adaptive" and f"{column.base}@oblivious" in table.worst:
        return [wording.SAME]
    few = [wording.attacks_text(worst)] if worst.fewest < worst.eligible else []
    return [wording.spread(worst.statistic, True), *few]


def _width(table: Table, rows: Sequence[str], column: Column) -> int:
    """What the column's numbers and its heading need; a long heading folds."""
    numbers = [line for row in rows for line in _cell(table, row, column).plain.split("\n")]
    numbers += _worst_lines(table, column)
    heading = [column.knowledge, *_heading(table, column.base).plain.split("\n")]
    widest = max([NARROWEST, *(len(line) for line in numbers), *(min(len(line), WIDEST_HEADING) for line in heading)])
    return min(WIDEST, widest)


def _pages(table: Table, rows: Sequence[str], columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """The columns, in as many tables as the width asks for; a guard's two columns stay together."""
    page: list[Column] = []
    labels = [line for row in rows for line in _row_label(table, row).plain.split("\n")]
    label_width = min(LABEL_WIDTH, max([len("worst case"), *(len(line) for line in labels)])) + 2
    used = label_width
    for base in dict.fromkeys(column.base for column in columns):
        group = [column for column in columns if column.base == base]
        needed = sum(_width(table, rows, column) + 2 for column in group)
        if page and used + needed - 2 > width:
            yield page
            page, used = [], label_width
        page += group
        used += needed
    yield page
