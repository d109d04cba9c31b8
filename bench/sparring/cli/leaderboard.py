"""`sparring leaderboard`: what is rendered from a board's records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.cli.leaderboard_index import index
from sparring.cli.leaderboard_review import check, diff
from sparring.cli.presentation import Told, publish, tables, tell_bad_lines, told_by
from sparring.errors import BadInput

if TYPE_CHECKING:
    from sparring.journal import Results
    from sparring.leaderboard.table import Board


@click.group("leaderboard")
def command() -> None:
    """Tables and pages from a board's records."""


@command.command("render")
@click.argument("board")
@click.option(
    "--format", "form", type=click.Choice(["latex", "csv", "parquet", "svg"]), help="only this, to --out or printed"
)
@click.option("--out", type=click.Path(path_type=Path), help="file that --format writes; of svg the folder")
def render(board: str, form: str | None, out: Path | None) -> None:
    """Write README.md, table.csv and index.html of BOARD, a folder or a name, from its records alone.

    The suite says which cells there should be, and their order. Where one of its plugins is not installed, or there is
    no suite, the records alone say what there is. LaTeX tables need the package booktabs, Parquet needs pyarrow; svg
    writes a file for each curve over epsilon or poison fraction.
    """
    from sparring.catalogue import discover
    from sparring.journal import open_results
    from sparring.leaderboard.board import BoardUnwritable

    folder, suite = _folder_and_suite(board)
    if not (folder / "results").is_dir():
        raise BadInput(f"{folder} has no results yet; 'sparring run {board}' makes some")
    catalogue = discover()
    told, cells = told_by(suite, catalogue) if suite is not None else (Told(), None)
    results = open_results(folder)
    tell_bad_lines(results)
    if form is not None:
        _export(tables(folder, results, catalogue, told=told, cells=cells), form, out)
        return
    if out is not None:
        raise BadInput("--out goes with --format; the board's own files have their names")
    try:
        publish(folder, results, catalogue, told=told, cells=cells)
    except BoardUnwritable as error:
        raise BadInput(str(error)) from error


def _export(board: Board, form: str, out: Path | None) -> None:
    from sparring.atomic import replace_if_changed
    from sparring.leaderboard.latex import latex
    from sparring.leaderboard.parquet import parquet
    from sparring.leaderboard.table_csv import table_csv

    if form in ("parquet", "svg") and out is None:
        raise BadInput(f"{form} is not printed; name a {'file' if form == 'parquet' else 'folder'} with --out")
    if form == "svg":
        assert out is not None
        _draw(board, out)
        return
    try:
        content = parquet(board) if form == "parquet" else {"latex": latex, "csv": table_csv}[form](board).encode()
    except ModuleNotFoundError as error:
        raise BadInput(f"Parquet needs {error.name}: pip install 'sparring[parquet]'") from error
    if out is None:
        click.echo(content.decode(), nl=False)
        return
    try:
        replace_if_changed(out, [content])
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror or error}") from error


def _draw(board: Board, folder: Path) -> None:
    from sparring.atomic import replace_if_changed
    from sparring.leaderboard.curves import curves
    from sparring.leaderboard.figures import file_name, svg

    drawn = curves(board)
    if not drawn:
        raise BadInput("no attack of this board was run with several epsilons or poison fractions")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for curve in drawn:
            replace_if_changed(folder / file_name(curve), [svg(curve, page=False).encode()])
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror or error}") from error
    click.echo(f"Written: {len(drawn)} figures to {folder}")


@command.command("merge")
@click.argument("board")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
def merge(board: str, folders: tuple[Path, ...]) -> None:
    """Take into BOARD the records of FOLDERS, boards too: shards of a run, or a submission. Nothing in them is run.

    Exit code 0: all agree; 1: two records of one cell and key differ, a line is no record, or a file that a record
    names is not there.
    """
    import sys

    from sparring.journal import ResultsUnwritable, open_results
    from sparring.merging import Merged
    from sparring.merging import merge as merged_into

    folder, suite = _folder_and_suite(board)
    merged, bad = Merged(), 0
    try:
        with open_results(folder) as results:
            results.claim()
            wanted = _keys(suite)
            for other in folders:
                found = open_results(other)
                tell_bad_lines(found)
                bad += len(found.problems)
                if not found.by_cell:
                    raise BadInput(f"{other} has no records")
                merged_into(results, found, wanted, merged)
            results.consolidate()
            bad += _merge_pictures(results, folders)
    except ResultsUnwritable as error:
        raise BadInput(str(error)) from error
    click.echo(f"{merged.new} new, {len(merged.renewed)} renewed, {merged.same} as they were")
    for cell in merged.conflicts:
        click.echo(f"two records of one key differ, the first stays: {cell}", err=True)
    for name in dict.fromkeys(merged.missing):
        click.echo(f"not there, or not what its name says: results/media/{name}.safetensors", err=True)
    if merged.conflicts or merged.missing or bad:
        sys.exit(1)


@command.command("prune")
@click.argument("board")
def prune(board: str) -> None:
    """Drop the records of cells that the suite of BOARD does not have any more.

    Runs and merges keep them, since a suite that is mended may want them back.
    """
    from sparring.catalogue import discover
    from sparring.journal import ResultsUnwritable, open_results
    from sparring.suite import expand, load_suite

    folder, suite = _folder_and_suite(board)
    if suite is None:
        raise BadInput(f"{folder} has no suite.yaml, which would say what to keep")
    catalogue = discover()
    wanted = {cell.id for cell in expand(load_suite(suite, catalogue), catalogue)}
    try:
        with open_results(folder) as results:
            tell_bad_lines(results)
            results.claim()
            before = len(results.by_cell)
            results.consolidate(keep=wanted)
            click.echo(f"{before - len(results.by_cell)} dropped, {len(results.by_cell)} kept")
    except ResultsUnwritable as error:
        raise BadInput(str(error)) from error


def _merge_pictures(results: Results, folders: tuple[Path, ...]) -> int:
    """Take the pictures of what is recorded now; returns how many were not what their index says."""
    from sparring.pictures import Picture, Pictures

    keys = {cell: record.key for cell, record in results.by_cell.items()}
    taken: dict[str, Picture] = {}
    bad = 0
    for other in folders:
        found = Pictures(other / "results")
        for problem in found.problems:
            click.echo(f"left out: {problem}", err=True)
        bad += len(found.problems)
        taken |= found.of(keys)
    own = Pictures(results.folder)
    known = own.of(keys)
    fresh = {cell: found for cell, found in taken.items() if cell not in known or known[cell].line != found.line}
    if fresh:  # else those of records that changed stay named, for 'sparring pictures --renew'
        try:
            own.save(fresh, keys)
        except OSError as error:
            raise BadInput(f"cannot write pictures: {error.strerror or error}") from error
    return bad


command.add_command(index)
command.add_command(diff)
command.add_command(check)


def _keys(suite: Path | None) -> dict[str, str] | None:
    """Cell id -> key, as the suite asks for it with what is installed here; `None` where that cannot be told."""
    from sparring.catalogue import discover
    from sparring.plan import make_plan
    from sparring.suite import load_suite

    if suite is None:
        return None
    catalogue = discover()
    try:
        plan = make_plan(load_suite(suite, catalogue), catalogue)
    except BadInput as error:
        click.echo(f"the later of two records stays, as the suite does not tell: {error}", err=True)
        return None
    return {cell: stage.key for cell, stage in plan.goals.items()}


def _folder_and_suite(board: str) -> tuple[Path, Path | None]:
    """A folder of records needs no suite."""
    from sparring.board import SUITE_FILE, find_board

    folder = Path(board)
    if (folder / "results").is_dir() and not (folder / SUITE_FILE).exists():
        return folder, None
    found = find_board(board)
    return found.folder, found.suite_file
