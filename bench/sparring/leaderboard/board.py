"""A board's folder: reading its records, and writing what is rendered from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sparring.atomic import replace_if_changed
from sparring.journal import Results, open_results
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.page import page
from sparring.leaderboard.papers import PaperTable
from sparring.leaderboard.table import Board, ExpectedCell
from sparring.leaderboard.table_csv import table_csv
from sparring.pictures import Pictures

RENDERERS: Final = {"README.md": markdown, "table.csv": table_csv, "index.html": page}


class BoardUnwritable(RuntimeError):
    """A rendered file cannot be written; the message names it. The old one is still whole."""


def load_board(
    folder: Path,
    title: str = "",
    description: str = "",
    expected: Sequence[ExpectedCell] | None = None,
    metrics: Mapping[str, tuple[str, str, str]] | None = None,
    results: Results | None = None,
    papers: Sequence[PaperTable] = (),
    controls: Sequence[str] = (),
) -> Board:
    """The tables of the board in `folder`, from its records alone.

    Args:
        title: of the suite; the folder's name when empty.
        description: of the suite.
        expected: the suite's cells in order; `None`: coverage is of the records only.
        metrics: name -> (definition, direction, unit).
        results: the folder's results, where they are already read.
        papers: of the suite.
        controls: of the suite.
    """
    found = open_results(folder) if results is None else results
    board = aggregate(
        found.by_cell.values(),
        expected,
        metrics,
        title=title or folder.resolve().name,
        description=description,
        papers=papers,
        controls=controls,
        problems=map(str, found.problems),
    )
    keys = {cell: record.key for cell, record in found.by_cell.items()}
    return replace(board, pictures=Pictures(found.folder).of(keys))


def write_board(folder: Path, board: Board) -> list[Path]:
    """Write README.md, table.csv and index.html into `folder`; a file whose bytes would not change is not touched.

    Returns:
        The paths of all three.

    Raises:
        BoardUnwritable: the disk is full or the folder not writable.
    """
    paths = []
    for name, render in RENDERERS.items():
        path = folder / name
        try:
            replace_if_changed(path, [render(board).encode()])
        except OSError as error:
            raise BoardUnwritable(f"cannot write {path}: {error.strerror or error}") from error
        paths.append(path)
    return paths


def render_board(
    folder: Path,
    title: str = "",
    description: str = "",
    expected: Sequence[ExpectedCell] | None = None,
    metrics: Mapping[str, tuple[str, str, str]] | None = None,
) -> list[Path]:
    """`load_board`, then `write_board`."""
    return write_board(folder, load_board(folder, title, description, expected, metrics))
