"""What can be said of a plugin without running it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, Final

import yaml

from sparring.cell import Selection
from sparring.errors import BadInput
from sparring.hookspecs import PROJECT
from sparring.keys import digest_of
from sparring.params import describe, plain_value
from sparring.plugin import Kind
from sparring.testing.check import Check, Impossible, Violation
from sparring.testing.subject import Subject

HEAVY: Final = ("torch", "torchvision", "torchattacks", "art", "sklearn", "scipy", "dask", "distributed", "pandas")
"""Packages that take a noticeable time to import."""

_LOADS = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from importlib.metadata import EntryPoint
EntryPoint(name="plugins", group="sparring", value=sys.argv[1]).load()
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imports_nothing_heavy(subject: Subject) -> None:
    entry = subject.entry
    named = [p for p in entry_points(group=PROJECT) if p.name == entry.entry_point]
    values = [p.value for p in named if p.dist is not None and p.dist.name == entry.distribution]
    if not values:
        raise Impossible("its entry point is not installed in this environment")
    if heavy := sorted(set(HEAVY) & _loaded_by(values[0], json.dumps(sys.path))):
        raise Violation(
            "declaring the plugin imports nothing heavy, so that 'sparring list' answers at once",
            f"importing {values[0]} imports {', '.join(heavy)}",
            "import them inside the functions that use them, and for annotations under 'if TYPE_CHECKING'",
        )


@lru_cache(maxsize=64)
def _loaded_by(module: str, path: str) -> frozenset[str]:
    """Top-level packages in memory after importing a module in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", _LOADS, module, path], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Impossible(f"{module} cannot be imported in a new process: {done.stderr.strip().splitlines()[-1]}")
    return frozenset(done.stdout.rpartition("LOADED")[2].split())


def survives_yaml_and_json(subject: Subject) -> None:
    """Written down as a suite or a record does, and read again, the parameters are the same and keep their key."""
    params, written = subject.selection.params, plain_value(subject.selection)
    values = {f.name: getattr(params, f.name) for f in fields(params)}
    settings = {name: plain_value(str(v) if isinstance(v, Selection) else v) for name, v in values.items()}
    for form, again in (("YAML", yaml.safe_load(yaml.safe_dump(settings))), ("JSON", json.loads(json.dumps(settings)))):
        try:
            (read,) = subject.catalogue.resolve(subject.kind, {subject.selection.name: _unswept(again)})
        except BadInput as problem:
            raise _not_the_same(f"{form} {again} is refused: {problem}") from None
        if read != subject.selection or digest_of(plain_value(read)) != digest_of(written):
            raise _not_the_same(f"{form} {again} is read as {read}")


def _unswept(settings: dict[str, Any]) -> dict[str, Any]:
    """A list in a suite is swept: a parameter that is a list itself is written as one value of a sweep."""
    return {name: [value] if isinstance(value, list) else value for name, value in settings.items()}


def _not_the_same(seen: str) -> Violation:
    return Violation(
        "parameters written to a suite or a record, and read again, are the same and keep their key",
        seen,
        "use int, float, bool, str, tuples of these and 'reference(...)'; __post_init__ may refuse, not change them",
    )


def refuses_unknown_parameters(subject: Subject) -> None:
    try:
        subject.spec.params(no_such_parameter=1)
    except TypeError:
        return
    raise Violation(
        "a parameter that does not exist is refused",
        "'no_such_parameter' was taken",
        "declare 'params' as a frozen, keyword-only dataclass, and leave its __init__ alone",
    )


def explains_itself(subject: Subject) -> None:
    silent = [described.name for described in describe(subject.spec.params) if not described.meaning.strip()]
    if silent:
        raise Violation(
            "every parameter says what it means, for 'sparring info'",
            f"no meaning: {', '.join(silent)}",
            "declare it as 'name: type = param(default, \"what it means\")'",
        )


def reads_what_it_can_be_bounded_by(subject: Subject) -> None:
    spec = subject.declares(Kind.ATTACK)
    lacking = [f for f, there in (("goal", len(spec.goals) > 1), ("norm", len(spec.norms) > 1)) if there]
    if unread := [name for name in lacking if name not in spec.reads]:
        raise Violation(
            "an attack with several goals or norms reads which one it is asked for",
            f"'reads' does not name {', '.join(unread)}",
            "add it to 'reads', or declare the one that it knows",
        )


def _is_attack(subject: Subject) -> bool:
    return subject.kind is Kind.ATTACK


CHECKS = (
    Check("light-declaration", "declaring it imports nothing heavy", imports_nothing_heavy, needs_run=False),
    Check(
        "parameters-survive",
        "parameters keep their values and their key through YAML and JSON",
        survives_yaml_and_json,
        needs_run=False,
    ),
    Check(
        "unknown-parameters-refused",
        "a parameter that does not exist is refused",
        refuses_unknown_parameters,
        needs_run=False,
    ),
    Check("explains-itself", "every parameter has a meaning", explains_itself, needs_run=False),
    Check(
        "reads-goal-and-norm",
        "goals and norms that it can choose between are read",
        reads_what_it_can_be_bounded_by,
        applies=_is_attack,
        needs_run=False,
    ),
)
