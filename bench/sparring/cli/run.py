"""`sparring run`: run a board and end in its leaderboard."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.cli.selection import Chosen, cache_folder, choose, product_options
from sparring.errors import BadInput
from sparring.plugin import Kind

if TYPE_CHECKING:
    from sparring.engine import Engine
    from sparring.journal import Results
    from sparring.plan import Plan
    from sparring.run import Run, Tally

SOME_FAILED = 1


@click.command("run")
@product_options
@click.option("--only", metavar="PATTERN", help="only cells whose id, or a part of it, matches a glob")
@click.option("--fresh", is_flag=True, help="compute everything anew, whatever is recorded or stored")
@click.option("--strict", is_flag=True, help="make library versions part of every key")
@click.option("--engine", type=click.Choice(["local", "serial", "dask"]), default="local", show_default=True)
@click.option("--workers", type=click.IntRange(min=1), help="worker processes of the local engine  [default: cores]")
@click.option("--scheduler", metavar="ADDRESS", help="of a Dask cluster, tcp://host:port")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="torch threads per worker")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), help="folder of stored artifacts  [default: user cache]")
def command(
    board: str | None,
    datasets: tuple[str, ...],
    victims: tuple[str, ...],
    attacks: tuple[str, ...],
    defences: tuple[str, ...],
    repetitions: int | None,
    out: Path | None,
    only: str | None,
    fresh: bool,
    strict: bool,
    engine: str,
    workers: int | None,
    scheduler: str | None,
    threads: int,
    device: str,
    cache: Path | None,
) -> None:
    """Run BOARD, or a product of selectors, and render its leaderboard.

    Finished cells are kept: the same command goes on where an earlier one was stopped. Exit code 0: every cell is
    scored or not applicable; 1: some failed; 2: bad input.

    \b
    sparring run digits
    sparring run --dataset digits --victim cnn --attack 'pgd[eps=[0.1,0.3]]' --defence none
    """
    from sparring.engine import EngineUnavailable
    from sparring.journal import ResultsUnwritable, open_results
    from sparring.leaderboard.board import BoardUnwritable
    from sparring.plan import make_plan, split_cells
    from sparring.provenance import git_commit, library_versions
    from sparring.run import Run
    from sparring.stage import WorkerSettings
    from sparring.store import StoreProblem

    chosen = choose(board, datasets, victims, attacks, defences, repetitions, out)
    plan = make_plan(chosen.suite, chosen.catalogue, library_versions() if strict else None)
    cells = plan.matching(only)
    runner = _engine(engine, workers, scheduler)
    try:
        store = _usable_store(cache_folder(cache) / "artifacts")
        chosen.settle()
        with open_results(chosen.board.folder) as results:
            todo = split_cells(plan, cells, results, fresh=fresh)
            settings = WorkerSettings(
                store=store,
                threads=threads,
                device=device,
                seconds=chosen.suite.limits.seconds,
                memory=chosen.suite.limits.memory,
                fresh=frozenset(plan.stages_of(todo.to_run)) if fresh else frozenset(),
            )
            run = Run(plan, todo, chosen.catalogue, results, settings, git_commit(chosen.board.folder))
            tally = _watched(run, runner, results)
            results.consolidate()
            _show(chosen, plan, results)
    except (StoreProblem, ResultsUnwritable, BoardUnwritable) as error:
        raise BadInput(f"{error}; finished cells are recorded, run the same command again to go on") from error
    except EngineUnavailable as error:
        raise BadInput(str(error)) from error
    _say_failures(tally)
    if tally.failed:
        sys.exit(SOME_FAILED)


def _engine(name: str, workers: int | None, scheduler: str | None) -> Engine:
    from sparring.engine import DaskEngine, LocalEngine, SerialEngine

    if (scheduler is not None) != (name == "dask"):
        raise BadInput("--scheduler ADDRESS and --engine dask go together")
    if scheduler is not None:
        return DaskEngine(scheduler)
    if name == "serial":
        return SerialEngine()
    return LocalEngine(workers)


def _usable_store(folder: Path) -> Path:
    from sparring.store import Store

    Store(folder).prepare()
    return folder.resolve()


def _watched(run: Run, engine: Engine, results: Results) -> Tally:
    from sparring.cli.progress import Progress

    started = time.monotonic()
    with Progress(run, results) as progress:
        tally = run.go(engine, progress.on_event)
    click.echo(progress.summary(tally, time.monotonic() - started))
    return tally


def _show(chosen: Chosen, plan: Plan, results: Results) -> None:
    """Render the leaderboard from the records, print it, and say where it lies."""
    from rich.console import Console

    from sparring.leaderboard.board import load_board, write_board
    from sparring.leaderboard.table import ExpectedCell
    from sparring.leaderboard.terminal import show

    folder, suite = chosen.board.folder, chosen.suite
    expected = [ExpectedCell.of(cell) for cell in plan.cells]
    specs = [chosen.catalogue.metric(name) for name in chosen.catalogue.specs(Kind.METRIC)]
    metrics = {spec.name: (spec.definition, spec.direction.value, spec.unit) for spec in specs}
    board = load_board(folder, suite.title or suite.name, suite.description, expected, metrics, results)
    show(board, Console(), write_board(folder, board))
    for problem in results.problems:
        click.echo(str(problem), err=True)


def _say_failures(tally: Tally) -> None:
    for (kind, stage, error), count in tally.failures.most_common(10):
        click.echo(f"failed ({kind}) in {count} cells: {stage}: {error}", err=True)
