"""`sparring leaderboard`: what is rendered from a board's records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.cli.presentation import Told, publish, tell_bad_lines
from sparring.errors import BadInput, NotInstalled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparring.catalogue import Catalogue
    from sparring.cell import Cell


@click.group("leaderboard")
def command() -> None:
    """Tables and pages from a board's records."""


@command.command("render")
@click.argument("board")
def render(board: str) -> None:
    """Write README.md, table.csv and index.html of BOARD, a folder or a name, from its records alone.

    The suite says which cells there should be, and their order. Where one of its plugins is not installed, or there is
    no suite, the records alone say what there is.
    """
    from sparring.catalogue import discover
    from sparring.journal import open_results
    from sparring.leaderboard.board import BoardUnwritable

    folder, suite = _folder_and_suite(board)
    if not (folder / "results").is_dir():
        raise BadInput(f"{folder} has no results yet; 'sparring run {board}' makes some")
    catalogue = discover()
    told, cells = _told_by(suite, catalogue) if suite is not None else (Told(), None)
    results = open_results(folder)
    tell_bad_lines(results)
    try:
        publish(folder, results, catalogue, told=told, cells=cells)
    except BoardUnwritable as error:
        raise BadInput(str(error)) from error


def _folder_and_suite(board: str) -> tuple[Path, Path | None]:
    """A folder of records needs no suite."""
    from sparring.board import SUITE_FILE, find_board

    folder = Path(board)
    if (folder / "results").is_dir() and not (folder / SUITE_FILE).exists():
        return folder, None
    found = find_board(board)
    return found.folder, found.suite_file


def _told_by(file: Path, catalogue: Catalogue) -> tuple[Told, Sequence[Cell] | None]:
    """What a suite says of itself, and its cells. Raises `BadInput` where the file is wrong."""
    from sparring.located_yaml import read_yaml
    from sparring.suite import expand, load_suite

    try:
        suite = load_suite(file, catalogue)
    except NotInstalled as error:
        click.echo(f"rendered from the records alone, without what is missing among them: {error}", err=True)
        fields = read_yaml(file).value
        return Told(str(fields.get("title") or fields.get("name") or ""), str(fields.get("description") or "")), None
    return Told.by(suite), expand(suite, catalogue)
