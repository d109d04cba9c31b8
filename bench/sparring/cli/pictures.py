"""`sparring pictures`: what an attack does to images, for chosen cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.cli.selection import cache_folder, choose
from sparring.errors import BadInput

if TYPE_CHECKING:
    from sparring.cell import Cell
    from sparring.cli.selection import Chosen
    from sparring.pictures import Picture
    from sparring.plan import Plan

MOST = 40
"""Cells of one call: pictures are for chosen ones."""


@click.command("pictures")
@click.argument("board")
@click.option("--cell", "patterns", metavar="PATTERN", multiple=True, help="glob over ids, or a part; may be repeated")
@click.option("--renew", is_flag=True, help="also the cells that have a picture of a record that has changed since")
@click.option("--count", type=click.IntRange(1, 12), default=6, show_default=True, help="images of each cell")
@click.option(
    "--explain", is_flag=True, help="also gradients, an untrained network's map, and influential training images"
)
@click.option("--cache", type=click.Path(path_type=Path), help="folder of stored artifacts  [default: user cache]")
def command(board: str, patterns: tuple[str, ...], renew: bool, count: int, explain: bool, cache: Path | None) -> None:
    """Draw cells of BOARD: images clean and attacked (or poisoned), the difference magnified, and Grad-CAM on both.

    With --explain also the gradient, the map that the network gives before training (a map that is like it says
    nothing), and the two training images that speak most for the answer on each attacked image.

    Pictures lie in the board's folder, results/pictures/<SHA-256>.png, with an index; 'sparring leaderboard render'
    puts them on the page. What is missing in the store of a cell's stages is computed first. Pictures of cells whose
    records changed are removed, unless --renew draws them again. Exit code 0: all were drawn; 1: some could not be;
    2: bad input.

    \b
    sparring pictures digits --cell 'cnn/pgd*eps*0.2*/none/r0' --cell 'cnn/badnets*/none/r0'
    sparring pictures digits --renew
    """
    import sys

    from sparring.journal import open_results
    from sparring.pictures import Pictures
    from sparring.store import Store

    chosen = choose(board, (), (), (), (), None, None)
    plan = chosen.plan()
    results = open_results(chosen.board.folder)
    keys = {cell: record.key for cell, record in results.by_cell.items()}
    old = Pictures(results.folder).outdated(keys) if renew else []
    cells = _cells(plan, patterns, old) if patterns or not renew or old else []
    if unlike := [cell.id for cell in cells if keys.get(cell.id) != plan.goals[cell.id].key]:
        raise BadInput(f"{unlike[0]} is not recorded with the code and parameters that are here; run it first")
    store = cache_folder(cache) / "artifacts"
    Store(store).prepare()
    drawn, failed = _drawn(plan, chosen, cells, store, count, explain)
    try:
        Pictures(results.folder).save(drawn, keys)
    except OSError as error:
        raise BadInput(f"cannot write pictures: {error.strerror or error}") from error
    click.echo(f"{len(drawn)} drawn; 'sparring leaderboard render {board}' shows them")
    if failed:
        sys.exit(1)


def _cells(plan: Plan, patterns: tuple[str, ...], old: list[str]) -> list[Cell]:
    """Those that are asked for, and those of `old` that the suite still has."""
    if not patterns and not old:
        raise BadInput("name the cells: --cell PATTERN, or --renew")
    named = [cell for pattern in patterns for cell in plan.matching(pattern)]
    named += [cell for cell in plan.cells if cell.id in old]
    found = {cell.id: cell for cell in named if cell.id in plan.goals}
    if not found:
        raise BadInput("no cell that matches is applicable")
    if len(found) > MOST:
        raise BadInput(f"{len(found)} cells match; pictures are for chosen ones, at most {MOST} at a time")
    return list(found.values())


def _drawn(
    plan: Plan, chosen: Chosen, cells: list[Cell], store: Path, count: int, explain: bool
) -> tuple[dict[str, Picture], int]:
    """By cell; and how many could not be drawn."""
    from sparring.engine import SerialEngine
    from sparring.execution import execute
    from sparring.graph import Graph
    from sparring.illustration import illustrate, png
    from sparring.pictures import LARGEST, picture
    from sparring.stage import Broken, RuleBroken, WorkerSettings
    from sparring.store import Store
    from sparring.workshop import Workshop

    limits = chosen.suite.limits
    settings = WorkerSettings(store=store, threads=1, device="cpu", seconds=limits.seconds, memory=limits.memory)
    shop = Workshop(Store(store), chosen.catalogue, "cpu")
    goals = {plan.goals[cell.id].key: cell for cell in cells}
    drawn: dict[str, Picture] = {}
    for key, outcome in SerialEngine().run(
        Graph(plan.stages_of(cells), list(goals)), execute, settings, lambda _: None
    ):
        cell = goals[key]
        try:
            if isinstance(outcome, Broken):
                raise RuleBroken(outcome.error)
            shown = illustrate(plan, plan.goals[cell.id], shop, count, explain)
            content = png(shown)
            if len(content) > LARGEST:
                raise RuleBroken(f"the picture has {len(content)} bytes, more than {LARGEST}; ask for fewer images")
        except RuleBroken as error:
            click.echo(f"not drawn: {cell.id}: {error}", err=True)
            continue
        drawn[cell.id] = picture(cell.id, key, content, shown.about)
        click.echo(f"drawn: {cell.id} ({len(content) / 1024:.0f} KiB)")
    return drawn, len(cells) - len(drawn)
