"""`sparring plan`: what a run would do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from sparring.cli.presentation import tell_bad_lines
from sparring.cli.selection import cache_folder, choose, product_options


@click.command("plan")
@product_options
@click.option("--only", metavar="PATTERN", help="only cells whose id, or a part of it, matches a glob")
@click.option("--fresh", is_flag=True, help="as if nothing were recorded or stored")
@click.option("--cells", "list_cells", is_flag=True, help="list every cell with its state")
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
    list_cells: bool,
    cache: Path | None,
) -> None:
    """Say what `run` would do: cells, distinct stages, what is cached or not applicable, and how long it may take.

    Runs nothing and writes nothing.
    """
    from sparring.journal import open_results
    from sparring.plan import estimate_seconds, split_cells
    from sparring.stage import StageName
    from sparring.store import Store

    chosen = choose(board, datasets, victims, attacks, defences, repetitions, out)
    plan = chosen.plan()
    cells = plan.matching(only)
    results = open_results(chosen.board.folder)
    tell_bad_lines(results)
    todo = split_cells(plan, cells, results, fresh=fresh)
    stages = plan.stages_of(todo.to_run)
    store = Store(cache_folder(cache) / "artifacts")
    missing = {key: stage for key, stage in stages.items() if fresh or not store.has(key)}

    click.echo(f"{chosen.board.name}: {len(cells)} cells")
    click.echo(f"  {len(todo.recorded):6d} recorded already")
    click.echo(f"  {len(todo.not_applicable):6d} not applicable")
    for reason, count in Counter(r for c in todo.not_applicable for r in plan.objections[c.id]).most_common():
        click.echo(f"         {count:4d} x {reason}")
    click.echo(
        f"  {len(todo.to_run):6d} to run, through {len(stages)} distinct stages ({len(missing)} not in the store)"
    )
    counted = Counter(stage.name for stage in missing.values())
    for name in StageName:
        if counted[name]:
            click.echo(f"         {counted[name]:4d} x {name}")
    seconds, unknown = estimate_seconds(plan, missing, results)
    if missing:
        known = f"about {seconds:.0f} CPU seconds, from earlier records" if unknown < len(missing) else "no estimate"
        rest = f"; {unknown} stages have no earlier record" if unknown else ""
        click.echo(f"  {known}{rest}")
    if list_cells:
        states = {c.id: "recorded" for c in todo.recorded} | {c.id: "not applicable" for c in todo.not_applicable}
        for cell in cells:
            click.echo(f"{states.get(cell.id, 'to run'):>14}  {cell.id}")
