"""`sparring leaderboard`: what is rendered from a board's records."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("leaderboard")
def command() -> None:
    """Tables and pages from a board's records."""


@command.command("render")
@click.argument("board", type=click.Path(exists=True, file_okay=False, path_type=Path))
def render(board: Path) -> None:
    """Write README.md, table.csv and index.html of the folder BOARD from its records alone."""
    from rich.console import Console

    from sparring.leaderboard.board import BoardUnwritable, load_board, write_board
    from sparring.leaderboard.terminal import show

    if not (board / "results").is_dir():
        raise click.UsageError(f"{board} has no folder results: it is not a board, or was never run")
    title, description = _title_and_description(board / "suite.yaml")
    made = load_board(board, title, description)
    try:
        paths = write_board(board, made)
    except BoardUnwritable as error:
        raise click.ClickException(str(error)) from error
    show(made, Console(), paths)
    for problem in made.problems:
        click.echo(problem, err=True)


def _title_and_description(suite: Path) -> tuple[str, str]:
    """Of the suite file; empty where there is none."""
    import yaml

    if not suite.is_file():
        return "", ""
    try:
        found = yaml.safe_load(suite.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.UsageError(f"{suite} cannot be read: {' '.join(str(error).split())}") from error
    fields = found if isinstance(found, dict) else {}
    return str(fields.get("title") or ""), str(fields.get("description") or "")
