"""The command `sparring`. Each command is a module of this package, imported when it is asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper

import click

from sparring import __version__
from sparring.errors import BadInput, near_miss

COMMANDS = {
    "run": ("run", "Run a board, or a product of selectors, and render its leaderboard."),
    "plan": ("plan", "Show what a run would do: cells, stages, reasons, time."),
    "explain": ("explain", "Show the stages and keys of one cell."),
    "verify": ("verify", "Compute some published cells again, and compare."),
    "pictures": ("pictures", "Draw what attacks did to images, for chosen cells."),
    "cache": ("cache", "Show, thin out and check the store of artifacts."),
    "leaderboard": ("leaderboard", "Render, check and compare leaderboards."),
    "list": ("list_", "List the installed plugins, and what is wrong with any."),
    "info": ("info", "Explain one plugin: parameters, threat fields, origin, source."),
    "contracts": ("contracts", "Show what a plugin must do: methods, shapes, what it is handed."),
    "new": ("new", "Start a plugin of your own: a small distribution that works."),
    "check": ("check", "Hold a plugin to its contract: the conformance kit."),
    "schema": ("schema", "Print the JSON Schema of a suite file or a record."),
}
"""Command -> (module of `sparring.cli` that holds it as `command`, help)."""


class _Commands(click.Group):
    """Knows its commands by name, and imports one when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"sparring.cli.{COMMANDS[cmd_name][0]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise BadInput(f"there is no command {args[0]!r}{near_miss(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sparring")
def commands() -> None:
    """Every attack against every defence, on every victim and data set, ending in a leaderboard."""


def main() -> None:
    """The console script. Exit code 2: bad input, told in one line; 130: interrupted; others are the commands'."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × and ± is no reason to stop
    try:
        code = commands.main(prog_name="sparring", standalone_mode=False)
    except BadInput as error:
        click.echo(f"sparring: {error}", err=True)
        code = 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        # the reader of our output has gone; keep the interpreter from flushing into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except OSError as error:  # what no command expected: a folder that vanished, a full disk
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"sparring: {place}{error.strerror or error}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
