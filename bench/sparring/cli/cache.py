"""`sparring cache`: what lies in the store, and what may go."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparring.amounts import BYTES, SECONDS, amount, size_text
from sparring.cli.selection import cache_folder
from sparring.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparring.store import Entry, Store

DAMAGED = 1
CHECKPOINTS = "checkpoints"
UNREADABLE = "unreadable"

folder_option = click.option(
    "--cache", type=click.Path(path_type=Path), help="folder of stored artifacts  [default: user cache]"
)


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A number with one of some units."""

    def __init__(self, name: str, units: Mapping[str, float]) -> None:
        self.name = name
        self._units = units

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else amount(value, self._units)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


@click.group("cache")
def command() -> None:
    """What lies in the artifact store, what may go, and whether it is whole."""


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="machine-readable output")
@folder_option
def list_(as_json: bool, cache: Path | None) -> None:
    """Say how many artifacts of each stage there are, and how large and old they are."""
    store = _store(cache)
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.entries():
        found[_stage(store, entry)].append(entry)
    rows = sorted(found.items(), key=lambda row: -sum(entry.size for entry in row[1]))
    if as_json:
        told = [
            {"stage": stage, "files": len(entries), "bytes": _total(entries), "oldest": min(e.written for e in entries)}
            for stage, entries in rows
        ]
        click.echo(json.dumps({"folder": str(store.root), "stages": told}, indent=2))
        return
    everything = [entry for _, entries in rows for entry in entries]
    click.echo(f"{store.root}: {len(everything)} files, {size_text(_total(everything))}")
    for stage, entries in rows:
        oldest = datetime.fromtimestamp(min(entry.written for entry in entries), UTC).date()
        click.echo(f"  {stage:<12} {len(entries):>8} {size_text(_total(entries)):>12}   oldest of {oldest}")


@command.command("gc")
@click.option("--unneeded", is_flag=True, help="only what no board below leaderboards/ needs as it is planned now")
@click.option("--board", "boards", multiple=True, help="with --unneeded: a board elsewhere; may be repeated")
@click.option("--older-than", type=Amount("age", SECONDS), help="only what was written longer ago: 30d, 12h")
@click.option("--down-to", type=Amount("size", BYTES), help="only as much, the oldest first, as leaves this: 10GiB")
@click.option("--dry-run", is_flag=True, help="say what would go, and leave it there")
@folder_option
def collect(
    unneeded: bool,
    boards: tuple[str, ...],
    older_than: float | None,
    down_to: float | None,
    dry_run: bool,
    cache: Path | None,
) -> None:
    """Remove artifacts that meet all the conditions given. Whoever needs one again computes it again.

    Nothing is removed while a run uses the store. Exit code 2: one does, or a board cannot be read.
    """
    from sparring.store import StoreProblem

    if boards and not unneeded:
        raise BadInput("--board goes with --unneeded")
    if not unneeded and older_than is None and down_to is None:
        raise BadInput("say what may go: --unneeded, --older-than AGE, --down-to SIZE, or several of them")
    store = _store(cache)
    needed = _needed(boards) if unneeded else frozenset[str]()
    try:
        with store.alone():
            entries = sorted(store.entries(), key=lambda entry: entry.written)
            going = [entry for entry in entries if entry.key not in needed]
            if older_than is not None:
                going = [entry for entry in going if entry.written < time.time() - older_than]
            if down_to is not None:
                going = list(_first(going, _total(entries) - down_to))
            for entry in () if dry_run else going:
                store.remove(entry)
    except StoreProblem as error:
        raise BadInput(str(error)) from error
    what = "would go" if dry_run else "removed"
    left = _total(entries) - _total(going)
    click.echo(
        f"{len(going)} of {len(entries)} files {what}, {size_text(_total(going))}; {size_text(left)} "
        f"{'would be left' if dry_run else 'left'} in {store.root}"
    )


@command.command("verify")
@folder_option
def verify(cache: Path | None) -> None:
    """Compare the digest of every file with its name. Damaged files are named, and left where they are.

    Exit code 0: all are whole; 1: some are not. A run finds that out by itself, and computes what is damaged again.
    """
    store = _store(cache)
    count, damaged = 0, []
    for entry in store.entries():
        try:
            whole = store.whole(entry)
        except FileNotFoundError:  # a run replaced it
            continue
        except OSError as error:
            click.echo(f"cannot be read: {entry.path} ({error.strerror})", err=True)
            whole = False
        count += 1
        if not whole:
            damaged.append(entry)
            click.echo(f"damaged: {entry.path}", err=True)
    click.echo(f"{count - len(damaged)} of {count} files are whole in {store.root}")
    if damaged:
        sys.exit(DAMAGED)


def _store(cache: Path | None) -> Store:
    from sparring.store import Store

    return Store(cache_folder(cache) / "artifacts")


def _stage(store: Store, entry: Entry) -> str:
    """The first word of what its stage is called."""
    if entry.checkpoint:
        return CHECKPOINTS
    return store.label(entry).partition(" ")[0] or UNREADABLE


def _total(entries: Iterable[Entry]) -> int:
    return sum(entry.size for entry in entries)


def _first(entries: Iterable[Entry], size: float) -> Iterable[Entry]:
    """As many of `entries` as make up `size` bytes."""
    for entry in entries:
        if size <= 0:
            return
        size -= entry.size
        yield entry


def _needed(boards: tuple[str, ...]) -> frozenset[str]:
    """The keys of all stages that boards need: those named, those below `leaderboards`, and the bundled ones; with
    and without library versions in them (`run --strict`).

    Raises:
        BadInput: one of them cannot be planned, so nobody knows what it needs.
    """
    from sparring.board import BOARDS_FOLDER, SUITE_FILE, bundled, find_board
    from sparring.catalogue import discover
    from sparring.plan import make_plan
    from sparring.provenance import library_versions
    from sparring.suite import load_suite

    catalogue = discover()
    here = sorted(BOARDS_FOLDER.rglob(SUITE_FILE))
    suites = [*here, *bundled().values(), *(find_board(board).suite_file for board in boards)]
    keys: set[str] = set()
    for suite in (load_suite(file, catalogue) for file in suites):
        for versions in (None, library_versions()):
            keys |= make_plan(suite, catalogue, versions).blueprint.stages.keys()
    return frozenset(keys)
