"""`sparring leaderboard diff` and `check`: what a reviewer, or CI, asks of a board."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.cli.leaderboard_index import stale_index
from sparring.cli.presentation import Told, metric_infos, tables, tell_bad_lines
from sparring.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sparring.leaderboard.difference import Difference
    from sparring.leaderboard.table import Board


@click.command("diff")
@click.argument("old")
@click.argument("new")
def diff(old: str, new: str) -> None:
    """Print what changed from OLD to NEW as a Markdown review: folders of a board or of boards, or git revisions.

    \b
    sparring leaderboard diff main HEAD
    sparring leaderboard diff main:leaderboards/digits leaderboards/digits

    A number is worse or better where the 95 % interval of its paired difference over repetitions leaves out 0. Pictures
    that came, changed or went are listed, and are neither. Exit code 0: nothing is worse or lost; 1: something is;
    2: bad input.
    """
    from sparring.leaderboard.difference import picture_differences
    from sparring.leaderboard.markdown_difference import markdown_difference
    from sparring.revisions import boards_at

    bad = False
    with boards_at(old) as before, boards_at(new) as after:
        for was, now in _pairs(before, after):
            older, newer = _tables_in(was), _tables_in(now)
            found, worse = _differences(older, newer)
            bad = bad or worse > 0
            pictures = picture_differences(older, newer)
            click.echo(markdown_difference(newer.title or older.title, older, newer, found, pictures))
    if bad:
        sys.exit(1)


@click.command("check")
@click.argument("boards", nargs=-1)
@click.option("--against", metavar="PLACE", help="numbers must not be worse or lost: a folder, or a git revision")
def check(boards: tuple[str, ...], against: str | None) -> None:
    """Say what is wrong with BOARDS, by default all below leaderboards/ that have results.

    Rendered files that are stale, lines that are no records, cells with two records, kept files that are not there,
    records of other code or parameters than the suite's, and less than the coverage that the suite asks for. Without
    BOARDS, also an index over them that is stale.

    Records are held against the suite by content key, which is over all that a number depends on: the code that its
    stages reach, parameters, data, seeds, sample sizes. The digest of the whole suite may differ, as a record stays
    right when the suite gets another attack; where it does, that is said, and is no fault.

    Exit code 0: nothing is wrong; 1: something is; 2: bad input.
    """
    from sparring.board import BOARDS_FOLDER, find_board
    from sparring.revisions import boards_in

    wrong = 0

    def tell(folder: Path, found: list[str], said: Iterable[str] = ()) -> None:
        nonlocal wrong
        wrong += len(found)
        click.echo("\n  ".join([f"{folder}: {_counted(len(found))}", *found, *(f"({text})" for text in said)]))

    for folder in [find_board(name).folder for name in boards] or list(boards_in(BOARDS_FOLDER).values()):
        found, said = _wrong_with(folder)
        tell(folder, [*found, *(_worse_than(folder, against) if against is not None else ())], said)
    if not boards:
        tell(BOARDS_FOLDER, stale_index(BOARDS_FOLDER))
    if wrong:
        sys.exit(1)


def _wrong_with(folder: Path) -> tuple[list[str], list[str]]:
    """What is wrong with a board, and what is merely worth to be known."""
    from sparring.board import SUITE_FILE
    from sparring.catalogue import discover
    from sparring.journal import open_results
    from sparring.plan import make_plan
    from sparring.soundness import other_suites, problems_of_coverage, problems_of_records, stale_renderings
    from sparring.suite import load_suite

    results, catalogue = open_results(folder), discover()
    wrong = list(problems_of_records(results))
    try:
        plan = make_plan(load_suite(folder / SUITE_FILE, catalogue), catalogue)
    except BadInput as error:
        return [*wrong, f"what the suite asks for cannot be told: {error}"], []
    made = tables(folder, results, catalogue, told=Told.by(plan.suite), cells=plan.cells)
    wrong += [*problems_of_coverage(plan, results), *stale_renderings(folder, made)]
    return wrong, list(other_suites(plan, results))


def _worse_than(folder: Path, against: str) -> Iterator[str]:
    """Of the board of this name there; nothing of one that is new."""
    from sparring.revisions import boards_at

    with boards_at(against) as there:
        earlier = there.get(folder.name) or (next(iter(there.values())) if len(there) == 1 else None)
        if earlier is None:
            return
        _, worse = _differences(_tables_in(earlier), _tables_in(folder))
    if worse:
        yield f"{worse} numbers are worse or lost; 'sparring leaderboard diff {against} {folder}' names them"


def _differences(before: Board, after: Board) -> tuple[list[Difference], int]:
    """All, and how many of them are worse or lost."""
    from sparring.leaderboard.difference import Change, differences

    found = differences(before, after)
    return found, sum(line.change in (Change.WORSE, Change.LOST) for line in found)


def _pairs(before: Mapping[str, Path], after: Mapping[str, Path]) -> list[tuple[Path | None, Path | None]]:
    """Boards of one name; two folders of one board each need not have one name."""
    if len(before) == len(after) == 1:
        return list(zip(before.values(), after.values(), strict=True))
    return [(before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]


def _tables_in(folder: Path | None) -> Board:
    """What the records there say; nothing where there is no folder."""
    from sparring.catalogue import discover
    from sparring.journal import open_results
    from sparring.leaderboard import table
    from sparring.leaderboard.board import load_board

    if folder is None:
        return table.Board(title="")
    results = open_results(folder)
    tell_bad_lines(results)
    return load_board(folder, metrics=metric_infos(discover()), results=results)


def _counted(problems: int) -> str:
    return "sound" if problems == 0 else "1 problem" if problems == 1 else f"{problems} problems"
