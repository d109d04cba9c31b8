"""`sparring run`: run a board and end in its leaderboard."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.cli.presentation import Told, publish, tell_bad_lines
from sparring.cli.selection import Chosen, cache_folder, choose, product_options
from sparring.errors import BadInput

if TYPE_CHECKING:
    from sparring.engine import Engine
    from sparring.run import Run, Tally

SOME_FAILED = 1
GO_ON = "finished cells are recorded; the same command goes on from there"


@click.command("run")
@product_options
@click.option("--only", metavar="PATTERN", help="only cells whose id, or a part of it, matches a glob")
@click.option("--changed", is_flag=True, help="only cells recorded with other code, parameters, data or seeds")
@click.option("--shard", metavar="I/N", help="only the cells of one of N machines; 'leaderboard merge' joins them")
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
    changed: bool,
    shard: str | None,
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
    from sparring.plan import outdated, split_cells
    from sparring.provenance import git_commit, library_versions
    from sparring.run import Run
    from sparring.shards import cells_of, parse_shard
    from sparring.stage import WorkerSettings
    from sparring.store import StoreProblem

    part = parse_shard(shard) if shard is not None else None
    chosen = choose(board, datasets, victims, attacks, defences, repetitions, out)
    plan = chosen.plan(library_versions() if strict else None)
    cells = plan.matching(only)
    if part is not None:
        cells = cells_of(part, cells)
    runner = _engine(engine, workers, scheduler)
    try:
        store = _usable_store(cache_folder(cache) / "artifacts")
        chosen.settle()
        with open_results(chosen.board.folder) as results:
            results.claim()
            if changed:
                old = {cell.id for cell in outdated(plan, results)}
                cells = [cell for cell in cells if cell.id in old]
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
            tally = _recorded(run, runner, chosen)
    except (StoreProblem, ResultsUnwritable, EngineUnavailable) as error:
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


def _recorded(run: Run, engine: Engine, chosen: Chosen) -> Tally:
    """Run, consolidate the records, and publish the leaderboard.

    Raises:
        BadInput: it had to stop; says how to go on.
    """
    from sparring.engine import EngineUnavailable
    from sparring.journal import REJECTED, ResultsUnwritable
    from sparring.leaderboard.board import BoardUnwritable
    from sparring.store import StoreProblem

    tell_bad_lines(run.results)
    rejected = len(run.results.problems)
    suite, folder = chosen.suite, chosen.board.folder
    try:
        tally = _watched(run, engine)
        run.results.consolidate()
        if rejected > len(run.results.problems):
            click.echo(f"lines that were left out are kept in {folder / 'results' / REJECTED}", err=True)
        _say_outdated(run, chosen)
        publish(folder, run.results, chosen.catalogue, told=Told.by(suite), cells=run.plan.cells)
    except (StoreProblem, ResultsUnwritable, BoardUnwritable, EngineUnavailable) as error:
        raise BadInput(f"{error}; {GO_ON}") from error
    except KeyboardInterrupt:
        click.echo(f"interrupted; {GO_ON}", err=True)
        raise
    return tally


def _watched(run: Run, engine: Engine) -> Tally:
    from sparring.cli.progress import Progress

    started = time.monotonic()
    with Progress(run, run.results) as progress:
        tally = run.go(engine, progress.on_event)
    click.echo(progress.summary(tally, time.monotonic() - started))
    return tally


def _say_outdated(run: Run, chosen: Chosen) -> None:
    from sparring.plan import outdated

    if old := outdated(run.plan, run.results):
        how = f"'sparring run {chosen.board.folder}' renews them"
        click.echo(f"{len(old)} cells were recorded with other code, parameters or seeds; {how}", err=True)


def _say_failures(tally: Tally) -> None:
    for (kind, stage, error), count in tally.failures.most_common(10):
        click.echo(f"failed ({kind}) in {count} cells: {stage}: {error}", err=True)
