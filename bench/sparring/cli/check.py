"""`sparring check`: hold plugins to their contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection

    from sparring.testing.tryout import Tryout


@click.command("check")
@click.argument("selectors", metavar="NAME...", nargs=-1)
@click.option("--only", metavar="CHECK", multiple=True, help="Only this check; may be repeated.")
@click.option("--list", "listing", is_flag=True, help="List the checks, and try nothing.")
def command(selectors: tuple[str, ...], only: tuple[str, ...], listing: bool) -> int:
    """Try the plugins NAME... against every check of the conformance kit.

    NAME is a selector: my-attack, 'my-attack[steps=5]', or KIND/NAME where several kinds have one of that name. The
    exit code is 1 when a check is not kept.
    """
    from sparring.catalogue import discover
    from sparring.errors import BadInput, near_miss
    from sparring.testing.checks import CHECKS
    from sparring.testing.tryout import Tryout

    claims = {check.name: check.claim for check in CHECKS}
    if unknown := [name for name in only if name not in claims]:
        raise BadInput(f"there is no check {unknown[0]!r}{near_miss(unknown[0], claims)}")
    if listing:
        for name in only or claims:
            click.echo(f"{name:<{WIDTH}}{claims[name]}")
        return 0
    if not selectors:
        raise BadInput("name at least one plugin; 'sparring list' shows them, 'sparring check --list' the checks")
    catalogue = discover()
    tryouts = [Tryout.of(catalogue, selector) for selector in selectors]
    return 1 if sum(_tried(tryout, only or claims) for tryout in tryouts) else 0


def _tried(tryout: Tryout, names: Collection[str]) -> int:
    """Print a line a check; the number of checks that the plugin breaks."""
    from sparring.testing import Verdict, trials_of

    click.echo(f"{tryout}, of {tryout.entry.distribution} {tryout.entry.version}")
    verdicts = []
    for trial in trials_of(tryout, {}):
        if trial.check.name not in names:
            continue
        verdict, why = trial.verdict()
        verdicts.append(verdict)
        click.echo(f"  {_MARKS[verdict]}  {trial.check.name:<{WIDTH}}{trial.check.claim}")
        for line in why.splitlines() if verdict is not Verdict.BLOCKED else ():  # its cause is told under 'runs'
            click.echo(f"     {line}")
    kept, broken = verdicts.count(Verdict.KEPT), verdicts.count(Verdict.VIOLATED)
    why = "because it does not run" if Verdict.BLOCKED in verdicts else "here"
    silent = len(verdicts) - kept - broken
    click.echo(f"  {kept} of {len(verdicts)} checks kept, {broken} broken, {silent} not judged {why}\n")
    return broken


WIDTH = 32
_MARKS = {"kept": "✓", "violated": "✗", "blocked": "·", "impossible": "–"}
