"""`sparring list`: the installed plugins, and what is wrong with any."""

from __future__ import annotations

import json

import click

from sparring.catalogue import Catalogue, Entry, discover
from sparring.plugin import Kind

KINDS = {f"{kind}s": kind for kind in (Kind.DATASET, Kind.VICTIM, Kind.ATTACK, Kind.DEFENCE, Kind.METRIC)}


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(kind: str | None, as_json: bool) -> None:
    """List the installed plugins of one KIND, or of all."""
    catalogue = discover()
    chosen = [KINDS[kind]] if kind else list(KINDS.values())
    click.echo(_as_json(catalogue, chosen) if as_json else _as_text(catalogue, chosen))


def _as_json(catalogue: Catalogue, kinds: list[Kind]) -> str:
    plugins = [
        {
            "kind": kind.value,
            "name": entry.spec.name,
            "summary": entry.spec.summary,
            "distribution": entry.distribution,
            "version": entry.version,
        }
        for kind in kinds
        for entry in catalogue.entries(kind)
    ]
    problems = [
        {"distribution": p.distribution, "version": p.version, "entry_point": p.entry_point, "message": p.message}
        for p in catalogue.problems
    ]
    return json.dumps({"plugins": plugins, "problems": problems}, indent=2, ensure_ascii=False)


def _as_text(catalogue: Catalogue, kinds: list[Kind]) -> str:
    sections = [_section(f"{kind}s", catalogue.entries(kind)) for kind in kinds]
    if catalogue.problems:
        sections.append("\n".join(["problems", *(f"  {problem}" for problem in catalogue.problems)]))
    return "\n\n".join(sections)


def _section(title: str, entries: list[Entry]) -> str:
    if not entries:
        return f"{title}\n  none installed"
    origins = [f"{entry.distribution} {entry.version}" for entry in entries]
    name_width = max(len(entry.spec.name) for entry in entries)
    origin_width = max(len(origin) for origin in origins)
    lines = [
        f"  {entry.spec.name:<{name_width}}  {origin:<{origin_width}}  {' '.join(entry.spec.summary.split())}"
        for entry, origin in zip(entries, origins, strict=True)
    ]
    return "\n".join([title, *lines])
