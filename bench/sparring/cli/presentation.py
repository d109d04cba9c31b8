"""What `run` and `leaderboard render` show of a board: tables on the terminal and in its folder, bad lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.plugin import Kind

if TYPE_CHECKING:
    from sparring.catalogue import Catalogue
    from sparring.cell import Cell
    from sparring.journal import Results

MOST_PROBLEMS = 10
"""Bad lines that are shown; the others are counted."""


def publish(
    folder: Path,
    results: Results,
    catalogue: Catalogue,
    *,
    title: str,
    description: str,
    cells: Iterable[Cell] | None,
) -> None:
    """Render the leaderboard from the records, print it, and say where it lies.

    Args:
        folder: of the board.
        results: its records.
        catalogue: knows what the metrics mean.
        title, description: of the suite.
        cells: of the suite, in order; `None`: unknown, so that the records alone say what there is.

    Raises:
        BoardUnwritable: a file cannot be written.
    """
    from rich.console import Console

    from sparring.leaderboard.board import load_board, write_board
    from sparring.leaderboard.table import ExpectedCell
    from sparring.leaderboard.terminal import show

    expected = None if cells is None else [ExpectedCell.of(cell) for cell in cells]
    board = load_board(folder, title, description, expected, metric_infos(catalogue), results)
    show(board, Console(), write_board(folder, board))


def metric_infos(catalogue: Catalogue) -> dict[str, tuple[str, str, str]]:
    """(definition, direction, unit) of every metric, by name."""
    specs = [catalogue.metric(name) for name in catalogue.specs(Kind.METRIC)]
    return {spec.name: (spec.definition, spec.direction.value, spec.unit) for spec in specs}


def tell_bad_lines(results: Results) -> None:
    """Name the lines of the results that could not be read, on standard error."""
    for problem in results.problems[:MOST_PROBLEMS]:
        click.echo(f"left out: {problem}", err=True)
    if more := results.problems[MOST_PROBLEMS:]:
        click.echo(f"left out: {len(more)} more lines", err=True)
