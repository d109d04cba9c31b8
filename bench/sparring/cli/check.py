"""`sparring check`: hold plugins to their contract."""

from __future__ import annotations

import click


@click.command("check")
@click.argument("selectors", metavar="NAME...", nargs=-1, required=True)
@click.option("--only", metavar="CHECK", multiple=True, help="Only this check; may be repeated.")
def command(selectors: tuple[str, ...], only: tuple[str, ...]) -> int:
    """Try the plugins NAME... against every check of the conformance kit.

    NAME is a selector: my-attack, 'my-attack[steps=5]', or KIND/NAME where several kinds have one of that name. The
    exit code is 1 when a check is not kept.
    """
    from sparring.catalogue import discover
    from sparring.errors import BadInput, near_miss
    from sparring.testing import Verdict, trials_of
    from sparring.testing.checks import CHECKS
    from sparring.testing.tryout import Tryout

    names = {check.name for check in CHECKS}
    for name in only:
        if name not in names:
            raise BadInput(f"there is no check {name!r}{near_miss(name, names)}")
    catalogue = discover()
    subjects = [Tryout.of(catalogue, selector) for selector in selectors]
    broken = 0
    for subject in subjects:
        click.echo(f"{subject} ({subject.entry.distribution} {subject.entry.version})")
        for trial in trials_of(subject, {}):
            if only and trial.check.name not in only:
                continue
            verdict, why = trial.verdict()
            broken += verdict is Verdict.VIOLATED
            click.echo(f"  {_MARKS[verdict]}  {trial.check.name:<28}{trial.check.claim if not why else ''}".rstrip())
            if why:
                click.echo("".join(f"     {line}\n" for line in why.splitlines()), nl=False)
    return 1 if broken else 0


_MARKS = {"kept": "✓", "violated": "✗", "blocked": "·", "impossible": "–"}
