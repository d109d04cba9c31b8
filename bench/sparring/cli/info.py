"""`sparring info`: everything that a plugin declares, for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from sparring.catalogue import Catalogue, Entry, discover
from sparring.cell import format_value
from sparring.errors import BadInput, near_miss
from sparring.params import ParamDescription, describe, limits_text, plain_value
from sparring.plugin import AttackSpec, DefenceSpec, Kind, MetricSpec, Spec, VictimSpec
from sparring.source_digest import code_digest, plugin_root, short_digest
from sparring.threat import ALIASES
from sparring.threat_params import THREAT_INFO, readable, usual_threat


@click.command("info")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(name: str, as_json: bool) -> None:
    """Explain the plugin NAME, or KIND/NAME where several kinds have one of that name."""
    facts = [_facts(entry) for entry in _found(discover(), name)]
    text = json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n\n".join(map(_as_text, facts))
    click.echo(text)


def _found(catalogue: Catalogue, name: str) -> list[Entry]:
    kind, _, rest = name.rpartition("/")
    if kind:
        if kind not in set(Kind):
            raise BadInput(f"there is no kind {kind!r}{near_miss(kind, Kind)}")
        return [catalogue.entry(Kind(kind), rest)]
    having = [kind for kind in Kind if name in catalogue.names(kind)]
    if having:
        return [catalogue.entry(kind, name) for kind in having]
    known = {known for kind in Kind for known in catalogue.names(kind)}
    raise BadInput(f"there is no plugin {name!r}{near_miss(name, known)}")


def _facts(entry: Entry) -> dict[str, Any]:
    spec = entry.spec
    install = f"pip install '{entry.distribution}[{spec.extra}]'" if spec.extra else None
    return {
        "kind": spec.kind.value,
        "name": spec.name,
        "summary": spec.summary,
        "citation": spec.citation,
        "distribution": entry.distribution,
        "version": entry.version,
        "revision": spec.revision,
        "module": plugin_root(spec.load).module,
        "source": _source(entry),
        "install": install,
        **_of_kind(spec),
        "parameters": [description._asdict() for description in describe(spec.params)],
        **({"threat": _threat_fields(spec)} if isinstance(spec, AttackSpec) else {}),
    }


def _source(entry: Entry) -> str | None:
    try:
        return short_digest(code_digest(plugin_root(entry.spec.load)))
    except OSError:
        return None


def _of_kind(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, VictimSpec):
        return {"acts": sorted(spec.acts), "offers": sorted(spec.offers)}
    if isinstance(spec, AttackSpec):
        goals, norms = list(spec.goals), list(spec.norms)
        return {
            "when": spec.when,
            "acts": sorted(spec.acts),
            "needs": sorted(spec.needs),
            "goals": goals,
            "norms": norms,
        }
    if isinstance(spec, DefenceSpec):
        offers = None if spec.offers is None else sorted(spec.offers)
        return {"acts": sorted(spec.acts), "needs": sorted(spec.needs), "offers": offers}
    if isinstance(spec, MetricSpec):
        return {"definition": spec.definition, "direction": spec.direction, "unit": spec.unit}
    return {}


def _threat_fields(spec: AttackSpec) -> list[dict[str, Any]]:
    usual = usual_threat(spec).stated()
    short = {field: alias for alias, field in ALIASES.items()}
    return [
        {
            "name": name,
            "short": short.get(name),
            "default": plain_value(usual.get(name)),
            "meaning": info.meaning,
            "limits": limits_text(info.bounds),
        }
        for name, info in THREAT_INFO.items()
        if name in readable(spec)
    ]


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['kind']} {facts['name']}", f"  {facts['summary']}"]
    if facts["citation"]:
        lines.append(f"  {facts['citation']}")
    lines.append("")
    labels = ("definition", "direction", "unit", "when", "acts", "needs", "offers", "goals", "norms", "install")
    rows = [(label, _listed(facts[label])) for label in labels if facts.get(label)]
    rows.append(("from", f"{facts['distribution']} {facts['version']}, revision {facts['revision']}"))
    rows.append(("source", _source_text(facts["module"], facts["source"])))
    lines += _columns(rows)
    lines += ["", "  parameters", *(_parameters(facts["parameters"]) or ["    none"])]
    if facts.get("threat"):
        lines += ["", "  threat fields, stated beside the parameters", *_fields(facts["threat"])]
    return "\n".join(lines)


def _source_text(module: str, digest: str | None) -> str:
    if digest is None:
        return f"{module} cannot be read as source, so its results have no key: boards cannot use it"
    return f"{module}, digest {digest}"


def _parameters(described: list[dict[str, str]]) -> list[str]:
    rows = []
    for param in (ParamDescription(**each) for each in described):
        limits = f" ({param.limits})" if param.limits else ""
        unit = f", in {param.unit}" if param.unit else ""
        rows.append((f"{param.name}={param.default}", param.type + limits, param.meaning + unit))
    return _columns(rows, indent=4)


def _fields(fields: list[dict[str, Any]]) -> list[str]:
    rows = []
    for field in fields:
        name = f"{field['name']} ({field['short']})" if field["short"] else field["name"]
        default = "" if field["default"] is None else f"={format_value(field['default'])}"
        limits = f" ({field['limits']})" if field["limits"] else ""
        rows.append((name + default, field["meaning"] + limits))
    return _columns(rows, indent=4)


def _columns(rows: Iterable[tuple[str, ...]], indent: int = 2) -> list[str]:
    table = list(rows)
    if not table:
        return []
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        (" " * indent + "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True))).rstrip()
        for row in table
    ]


def _listed(value: Any) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
