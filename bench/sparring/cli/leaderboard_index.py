"""`sparring leaderboard index`: one page over all boards of a folder."""

from __future__ import annotations

import re
from pathlib import Path

import click

from sparring.cli.presentation import Told, tables, tell_bad_lines, told_by
from sparring.errors import BadInput


@click.command("index")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default="leaderboards")
def index(folder: Path) -> None:
    """Write README.md and index.html of FOLDER, by default leaderboards: all boards below it that have results.

    The date that stands beside a board is that of the commits that its records were made with, where git has them.
    """
    from sparring.atomic import replace_if_changed

    for name, text in _rendered(folder).items():
        try:
            replace_if_changed(folder / name, [text.encode()])
        except OSError as error:
            raise BadInput(f"cannot write {folder / name}: {error.strerror or error}") from error
        click.echo(f"Written: {folder / name}")


def stale_index(folder: Path) -> list[str]:
    """Which files of a folder's index are not what its boards' records make; nothing where there is no index. Dates do
    not count: a clone without history does not know them."""
    present = [name for name in ("README.md", "index.html") if (folder / name).is_file()]
    made = _rendered(folder) if present else {}
    return [
        f"{name} does not say what the boards say; 'sparring leaderboard index {folder}' renews it"
        for name in present
        if _undated((folder / name).read_text(encoding="utf-8", errors="replace")) != _undated(made[name])
    ]


def _undated(text: str) -> str:
    return re.sub(r", code of \d{4}-\d\d-\d\d(?: to \d{4}-\d\d-\d\d)?", "", text)


def _rendered(folder: Path) -> dict[str, str]:
    """README.md and index.html of all boards below `folder`."""
    from sparring.board import SUITE_FILE
    from sparring.catalogue import discover
    from sparring.journal import open_results
    from sparring.leaderboard.index import index_entry, markdown_index, page_index
    from sparring.revisions import boards_in, commit_dates

    catalogue = discover()
    entries = []
    for path, board in boards_in(folder).items():
        suite = board / SUITE_FILE
        told, cells = told_by(suite, catalogue) if suite.is_file() else (Told(), None)
        results = open_results(board)
        tell_bad_lines(results)
        found = tables(board, results, catalogue, told=told, cells=cells)
        dates = commit_dates(folder, (made.commit for made in found.provenances if made.commit))
        entries.append(index_entry(path, found, dates))
    return {"README.md": markdown_index(entries), "index.html": page_index(entries)}
