"""`sparring list`: the installed plugins, where they come from, and what is wrong with any."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap

import click

from sparring.catalogue import Catalogue, Entry, discover
from sparring.discovery import VARIABLE, allow_list
from sparring.plugin import Kind

KINDS = {f"{kind}s": kind for kind in (Kind.DATASET, Kind.VICTIM, Kind.ATTACK, Kind.DEFENCE, Kind.METRIC)}
NARROWEST = 24
"""Columns that a summary gets, however small the terminal is."""


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(kind: str | None, as_json: bool) -> None:
    """List the installed plugins of one KIND, or of all: name, distribution, version, summary.

    The variable SPARRING_PLUGINS, a comma-separated list of distributions or entry points, leaves all others out.
    """
    catalogue = discover()
    chosen = [KINDS[kind]] if kind else list(KINDS.values())
    if as_json:
        click.echo(_as_json(catalogue, chosen))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo(_as_text(catalogue, chosen, width))


def _as_json(catalogue: Catalogue, kinds: list[Kind]) -> str:
    plugins = [
        {
            "kind": kind.value,
            "name": entry.spec.name,
            "summary": entry.spec.summary,
            "distribution": entry.distribution,
            "version": entry.version,
            "entry_point": entry.entry_point,
        }
        for kind in kinds
        for entry in catalogue.entries(kind)
    ]
    problems = [
        {"distribution": p.distribution, "version": p.version, "entry_point": p.entry_point, "message": p.message}
        for p in catalogue.problems
    ]
    allowed = allow_list()
    told = {"allowed": None if allowed is None else sorted(allowed), "plugins": plugins, "problems": problems}
    return json.dumps(told, indent=2, ensure_ascii=False)


def _as_text(catalogue: Catalogue, kinds: list[Kind], width: int | None) -> str:
    """A section a kind, then the allow-list and problems; lines are folded to `width`, `None`: never."""
    sections = [_section(f"{kind}s", catalogue.entries(kind), width) for kind in kinds]
    if (allowed := allow_list()) is not None:
        sections.append(f"{VARIABLE} allows {', '.join(sorted(allowed)) or 'nothing'}; all others are left out")
    if catalogue.problems:
        sections.append("\n".join(["problems", *(_folded("  ", str(p), width, 4) for p in catalogue.problems)]))
    return "\n\n".join(sections)


def _section(title: str, entries: list[Entry], width: int | None) -> str:
    if not entries:
        return f"{title}\n  none"
    origins = [f"{entry.distribution} {entry.version}" for entry in entries]
    name_width = max(len(entry.spec.name) for entry in entries)
    origin_width = max(len(origin) for origin in origins)
    lines = [
        _folded(f"  {entry.spec.name:<{name_width}}  {origin:<{origin_width}}  ", entry.spec.summary, width)
        for entry, origin in zip(entries, origins, strict=True)
    ]
    return "\n".join([title, *lines])


def _folded(start: str, text: str, width: int | None, indent: int | None = None) -> str:
    """`text` behind `start`, in one line or folded to `width`; further lines begin below the first or at `indent`."""
    plain = " ".join(text.split())
    if width is None:
        return start + plain
    hang = " " * (len(start) if indent is None else indent)
    wide = max(width, len(hang) + NARROWEST)
    return textwrap.fill(plain, wide, initial_indent=start, subsequent_indent=hang, break_on_hyphens=False)
