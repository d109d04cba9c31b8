"""`sparring explain`: one cell, from its parameters to its keys."""

from __future__ import annotations

from pathlib import Path

import click

from sparring.cli.selection import cache_folder, choose
from sparring.errors import BadInput


@click.command("explain")
@click.argument("board")
@click.argument("cell")
@click.option("--cache", type=click.Path(path_type=Path), help="folder of stored artifacts  [default: user cache]")
def command(board: str, cell: str, cache: Path | None) -> None:
    """Show the stages and keys of CELL (an id, or a pattern that matches one) of BOARD. Runs nothing."""
    from sparring.journal import open_results
    from sparring.store import Store

    chosen = choose(board, (), (), (), (), None, None)
    plan = chosen.plan()
    found = plan.matching(cell)
    exact = [c for c in found if c.id == cell] or found
    if len(exact) > 1:
        shown = ", ".join(c.id for c in exact[:3])
        raise BadInput(f"'{cell}' matches {len(exact)} cells ({shown}, ...); name one")
    (one,) = exact
    click.echo(one.id)
    click.echo(f"  threat model: {one.threat}")
    if one.id in plan.objections:
        for reason in plan.objections[one.id]:
            click.echo(f"  not applicable: {reason}")
        return
    goal = plan.goals[one.id]
    store = Store(cache_folder(cache) / "artifacts")
    numbers: dict[str, int] = {}
    for number, stage in enumerate(plan.blueprint.chain(goal), start=1):
        numbers[stage.key] = number
        state = "stored" if store.has(stage.key) else "to run"
        click.echo(f"  {number:2d}. {stage.label}")
        click.echo(f"      key {stage.key[:16]}  seed {stage.seed}  {state}")
        if stage.inputs:
            click.echo("      reads " + ", ".join(f"{role} ({numbers[key]})" for role, key in stage.inputs.items()))
    record = open_results(chosen.board.folder).by_key.get(goal.key)
    click.echo(f"  recorded: {record.outcome.state}" if record else "  not recorded")
