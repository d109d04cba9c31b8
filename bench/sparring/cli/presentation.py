"""What `run` and `leaderboard render` show of a board: tables on the terminal and in its folder, bad lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.errors import NotInstalled
from sparring.plugin import Kind

if TYPE_CHECKING:
    from sparring import suite_file
    from sparring.catalogue import Catalogue
    from sparring.cell import Cell
    from sparring.journal import Results
    from sparring.leaderboard import papers, table
    from sparring.suite import Suite

MOST_PROBLEMS = 10
"""Bad lines that are shown; the others are counted."""


@dataclass(frozen=True)
class Told:
    """What a suite says of itself to its readers."""

    title: str = ""
    description: str = ""
    papers: Sequence[suite_file.PaperTable] = ()
    controls: Sequence[str] = ()

    @classmethod
    def by(cls, suite: Suite) -> Told:
        return cls(suite.title or suite.name, suite.description, suite.papers, suite.controls)


def publish(
    folder: Path,
    results: Results,
    catalogue: Catalogue,
    *,
    told: Told,
    cells: Iterable[Cell] | None,
) -> None:
    """Render the leaderboard from the records, print it, and say where it lies.

    Args:
        folder: of the board.
        results: its records.
        catalogue: knows what the metrics mean.
        told: by the suite: what is shown beside the records.
        cells: of the suite, in order; `None`: unknown, so that the records alone say what there is.

    Raises:
        BoardUnwritable: a file cannot be written.
    """
    from rich.console import Console

    from sparring.leaderboard.board import write_board
    from sparring.leaderboard.terminal import show

    board = tables(folder, results, catalogue, told=told, cells=cells)
    show(board, Console(), write_board(folder, board))


def tables(
    folder: Path,
    results: Results,
    catalogue: Catalogue,
    *,
    told: Told,
    cells: Iterable[Cell] | None,
) -> table.Board:
    """What `publish` renders, in the same words."""
    from sparring.leaderboard.board import load_board
    from sparring.leaderboard.table import ExpectedCell

    expected = None if cells is None else [ExpectedCell.of(cell) for cell in cells]
    return load_board(
        folder,
        told.title,
        told.description,
        expected,
        metric_infos(catalogue),
        results,
        _papers(told.papers),
        told.controls,
    )


def _papers(told: Sequence[suite_file.PaperTable]) -> list[papers.PaperTable]:
    from sparring.leaderboard.papers import PaperTable, PaperValue

    return [
        PaperTable(
            source=paper.source,
            metric=paper.metric,
            error=paper.error,
            reading=" ".join(paper.reading.split()),
            values=tuple(PaperValue(**value.model_dump()) for value in paper.values),
        )
        for paper in told
    ]


def told_by(file: Path, catalogue: Catalogue) -> tuple[Told, Sequence[Cell] | None]:
    """What a suite says of itself, and its cells; `None` where one of its plugins is not installed.

    Raises:
        BadInput: the file is wrong.
    """
    from sparring.located_yaml import read_yaml
    from sparring.suite import expand, load_suite

    try:
        suite = load_suite(file, catalogue)
    except NotInstalled as error:
        click.echo(f"rendered from the records alone, without what is missing among them: {error}", err=True)
        fields = read_yaml(file).value
        return Told(str(fields.get("title") or fields.get("name") or ""), str(fields.get("description") or "")), None
    return Told.by(suite), expand(suite, catalogue)


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
