"""README.md: the numbers of papers beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from sparring.leaderboard.labels import Names
from sparring.leaderboard.markdown_text import code, escaped, row_of
from sparring.leaderboard.paper_rows import HEADINGS, MEANING, heading, paper_rows
from sparring.leaderboard.papers import Agreement, PaperComparison
from sparring.leaderboard.table import Board


def markdown_papers(board: Board) -> Iterator[str]:
    """Blocks: a table for each table of a paper; nothing for a board that names none."""
    if not board.papers:
        return
    yield "## Beside the papers"
    yield MEANING
    for found in board.papers:
        yield f"**{escaped(heading(found))}**"
        if found.table.reading:
            yield f"Our reading: {escaped(found.table.reading)}"
        yield "\n".join(_lines(found, board.names))


def _lines(found: PaperComparison, names: Names) -> Iterator[str]:
    yield row_of(HEADINGS)
    yield row_of([":--"] * 4 + ["--:", "--:", ":--"])
    for row in paper_rows(found, names):
        agrees = f"**{escaped(row.agrees)}**" if row.state is Agreement.YES else escaped(row.agrees)
        yield row_of([*map(code, row.about), escaped(row.paper), escaped(row.ours), agrees])
