"""`sparring verify`: compute some published cells again."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from sparring.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparring.catalogue import Catalogue
    from sparring.plan import Plan
    from sparring.record import Record
    from sparring.verification import Verified


@click.command("verify")
@click.argument("board")
@click.option("--sample", type=click.IntRange(min=1), default=5, show_default=True, help="how many cells")
@click.option("--seed", type=int, help="that they are drawn with  [default: another one each time]")
@click.option("--only", metavar="PATTERN", help="only of cells whose id, or a part of it, matches a glob")
@click.option("--workers", type=click.IntRange(min=1), help="worker processes  [default: cores]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def command(board: str, sample: int, seed: int | None, only: str | None, workers: int | None, device: str) -> None:
    """Compute random cells of BOARD again, from nothing, and compare them with what is published.

    Where processor, device, threads and library versions are those of the record, both must be equal; elsewhere shares
    must agree within their 95 % interval. Nothing in the board's folder changes. Exit code 0: all agree; 1: some do
    not; 2: bad input.
    """
    import random

    from sparring.board import find_board
    from sparring.catalogue import discover
    from sparring.journal import open_results
    from sparring.plan import make_plan
    from sparring.suite import load_suite
    from sparring.verification import drawn

    found = find_board(board)
    catalogue = discover()
    plan = make_plan(load_suite(found.suite_file, catalogue), catalogue)
    asked = {cell.id for cell in plan.matching(only)}
    published = [record for record in open_results(found.folder).by_cell.values() if record.cell.id in asked]
    current = [
        record for record in published if record.cell.id in plan.goals and record.key == plan.goals[record.cell.id].key
    ]
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    chosen = drawn(current, sample, seed)
    if not chosen:
        raise BadInput(f"{found.folder} has no number that was made with the code and parameters that are here")
    click.echo(f"{len(chosen)} of {len(published)} recorded cells, drawn with seed {seed}")
    answers = _computed(plan, catalogue, chosen, workers, device)
    for answer in answers:
        _say(answer)
    if any(answer.verdict.name == "DIFFERS" for answer in answers):
        sys.exit(1)


def _computed(
    plan: Plan, catalogue: Catalogue, chosen: Sequence[Record], workers: int | None, device: str
) -> list[Verified]:
    """Run the cells in a scratch folder with a store of its own."""
    from sparring.cli.progress import Progress
    from sparring.engine import LocalEngine
    from sparring.journal import open_results
    from sparring.plan import Split
    from sparring.run import Run
    from sparring.stage import WorkerSettings
    from sparring.store import Store
    from sparring.verification import verified

    cells = {cell.id: cell for cell in plan.applicable}
    todo = Split([], [cells[record.cell.id] for record in chosen], [])
    limits = plan.suite.limits
    with TemporaryDirectory() as scratch, open_results(Path(scratch)) as results:
        Store(Path(scratch) / "artifacts").prepare()
        settings = WorkerSettings(
            store=Path(scratch) / "artifacts", threads=1, device=device, seconds=limits.seconds, memory=limits.memory
        )
        run = Run(plan, todo, catalogue, results, settings)
        with Progress(run, results) as progress:
            run.go(LocalEngine(workers), progress.on_event)
        return [verified(record, results.by_cell[record.cell.id]) for record in chosen]


def _say(answer: Verified) -> None:
    click.echo(f"{answer.verdict.value}: {answer.cell}")
    for name, published, again in answer.differing:
        click.echo(f"  {name}: published {published:.6g}, here {again:.6g}")
    if answer.elsewhere and answer.verdict.name != "SAME":
        click.echo(f"  another machine ({'; '.join(answer.elsewhere)})")
