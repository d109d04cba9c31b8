"""`sparring new`: start a plugin of one's own."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparring.declarations import RULE_OF_NAMES, is_name
from sparring.errors import BadInput, near_miss
from sparring.plugin import Kind

if TYPE_CHECKING:
    from sparring.scaffold import NewPlugin


@click.command("new")
@click.argument("kind")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="folder that is made  [default: sparring-NAME]")
def command(kind: str, name: str, folder: Path | None) -> None:
    """Start a plugin of your own: a small distribution that works and passes its tests, with a method to replace.

    KIND is attack, defence, victim, dataset or metric; NAME is what suites will call the plugin.

    \b
    sparring new attack my-attack
    """
    from sparring.scaffold import NewPlugin

    plugin = NewPlugin(_kind(kind), _name(name))
    _check_free(plugin)
    made = folder or Path(plugin.distribution)
    try:
        plugin.write(made)
    except FileExistsError as error:
        raise BadInput(f"{made} exists already; name a folder that does not with --folder") from error
    except OSError as error:
        raise BadInput(f"{made} cannot be written: {error.strerror}") from error
    _say_next(plugin, made)


def _kind(kind: str) -> Kind:
    if kind not in set(Kind):
        guess = near_miss(kind, Kind) or f"; there are {', '.join(Kind)}"
        raise BadInput(f"there is no kind {kind!r}{guess}")
    return Kind(kind)


def _name(name: str) -> str:
    if not is_name(name):
        raise BadInput(f"no plugin can be called {name!r}: {RULE_OF_NAMES}")
    return name


def _check_free(plugin: NewPlugin) -> None:
    """Raises `BadInput` when the plugin, once installed, would clash with one that is."""
    from sparring.catalogue import discover

    catalogue = discover()
    if plugin.name in catalogue.names(plugin.kind):
        entry = catalogue.entry(plugin.kind, plugin.name)
        owner = f"{entry.distribution} {entry.version}"
        raise BadInput(f"there is {plugin.a_kind} {plugin.name!r} already, in {owner}; choose another name")
    if find_spec(plugin.module) is not None:
        raise BadInput(f"the module {plugin.module} is installed already; choose another name than {plugin.name!r}")


def _say_next(plugin: NewPlugin, folder: Path) -> None:
    place = shlex.quote(str(folder))
    click.echo(f"{folder / 'src' / plugin.module}.py is {plugin.a_kind} that works; make it yours. Next:\n")
    click.echo(f"    cd {place} && pip install -e '.[test]' && pytest")
    click.echo(f"    {plugin.trial}")
