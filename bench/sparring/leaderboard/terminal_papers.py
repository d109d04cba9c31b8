"""The numbers of papers beside ours, in a terminal."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sparring.leaderboard.paper_rows import HEADINGS, heading, paper_rows
from sparring.leaderboard.papers import Agreement
from sparring.leaderboard.table import Board
from sparring.leaderboard.wording import printable

STYLES: Final = {Agreement.YES: "green", Agreement.OPEN: "dim"}


def print_papers(board: Board, console: Console) -> None:
    """A table for each table of a paper."""
    for found in board.papers:
        console.print(Text(printable(heading(found)), style="bold"))
        table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for number, text in enumerate(HEADINGS):
            table.add_column(text, justify="right" if number in (4, 5) else "left", overflow="fold")
        for row in paper_rows(found, board.names):
            texts = [Text(printable(text)) for text in (*row.about, row.paper, row.ours)]
            table.add_row(*texts, Text(printable(row.agrees), style=STYLES.get(row.state, "red")))
        console.print(table)
        console.print()
