"""What makes a plugin's declaration legal. The catalogue leaves illegal ones out and says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from sparring.cell import Selection
from sparring.errors import BadInput
from sparring.params import default_of, hints_of, info_of, sweep, type_text, unsupported
from sparring.plugin import SPEC_TYPES, Act, AttackSpec, DefenceSpec, Kind, PluginSpec, VictimSpec
from sparring.threat import ALIASES, THREAT_FIELDS, Access

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
RESERVED = frozenset({"victim", "true", "false", "null"})
"""Words that mean something else in a selector: `surrogate=victim` is the victim of the cell itself."""

ACTS = {
    Kind.VICTIM: frozenset({Act.FIT, Act.PRETRAIN, Act.FIT_ROUNDS}),
    Kind.ATTACK: frozenset({Act.POISON, Act.TRIGGER, Act.PROBES, Act.PERTURB, Act.CORRUPT}),
    Kind.DEFENCE: frozenset(
        {Act.SANITISE, Act.REINFORCE, Act.OWN_FIT, Act.INSPECT, Act.REPAIR, Act.GUARD, Act.DETECT, Act.CERTIFY}
    ),
}
"""What each kind of plugin may do."""

RULE_OF_NAMES = "a name is lower-case words joined by hyphens, beginning with a letter, and no reserved word"


def is_name(name: Any) -> bool:
    """Whether a plugin may be called so."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and name not in RESERVED


def faults(spec: Any, kind: Kind) -> list[str]:
    """Everything that is wrong with what a hook returned as a declaration of `kind`, one sentence each."""
    if not isinstance(spec, SPEC_TYPES[kind]):
        return [f"{_called(spec)} is a {type(spec).__name__}; the hook returns {SPEC_TYPES[kind].__name__}"]
    found = [*_faults_of_names(spec), *_faults_of_params(spec)]
    if not found:  # the following look at the params
        found = [*_faults_of_access(spec), *_faults_of_attack(spec), *_faults_of_references(spec)]
    return [f"{kind} {_called(spec)}: {fault}" for fault in found]


def _called(spec: Any) -> str:
    name = getattr(spec, "name", None)
    return repr(name) if isinstance(name, str) else repr(spec)[:60]


def _faults_of_names(spec: PluginSpec) -> Iterator[str]:
    if not is_name(spec.name):
        yield RULE_OF_NAMES
    if not isinstance(spec.summary, str) or not spec.summary.strip():
        yield "the summary is empty"
    if not callable(spec.load):
        yield "load is not callable"
    if isinstance(spec.revision, bool) or not isinstance(spec.revision, int):
        yield "revision is not a whole number"


def _faults_of_params(spec: PluginSpec) -> Iterator[str]:
    cls = spec.params
    if not (isinstance(cls, type) and is_dataclass(cls)):
        yield "params is not a dataclass"
        return
    if not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "params is not frozen; write @dataclass(frozen=True, slots=True, kw_only=True)"
    declared = fields(cls)
    if not all(f.kw_only for f in declared):
        yield "params is not keyword-only; write @dataclass(frozen=True, slots=True, kw_only=True)"
    try:
        hints = hints_of(cls)
    except Exception as error:  # annotations are evaluated: anything may come
        yield f"the annotations of params cannot be read ({type(error).__name__}: {error})"
        return
    if without := [f.name for f in declared if default_of(f) is MISSING]:
        yield f"every parameter has a default; {', '.join(without)} has none"
        return
    if odd := [f for f in declared if unsupported(hints[f.name])]:
        kind = type_text(hints[odd[0].name], info_of(odd[0]))
        yield f"parameter {odd[0].name!r} is a {kind}, which cannot be written in a suite"
        return
    try:
        made = sweep(cls, {}, "default", _any_reference)
    except BadInput as error:
        yield error.message
        return
    if len(made) != 1:
        yield "the default of a parameter is a list, which would be swept; annotate it as a tuple"


def _any_reference(kind: Kind, raw: Any) -> tuple[Selection, ...]:
    return (Selection(str(raw)),)


def _faults_of_access(spec: PluginSpec) -> Iterator[str]:
    if isinstance(spec, VictimSpec | AttackSpec | DefenceSpec):
        legal = ACTS[spec.kind]
        if not isinstance(spec.acts, frozenset) or not spec.acts <= legal:
            yield f"acts is not a frozenset out of {', '.join(sorted(legal))}"
        needs = frozenset() if isinstance(spec, VictimSpec) else spec.needs
        offers = frozenset() if isinstance(spec, AttackSpec) else spec.offers or frozenset()
        for access in (needs, offers):
            if not isinstance(access, frozenset) or not all(isinstance(a, Access) for a in access):
                yield "needs and offers are frozensets of Access"


def _faults_of_attack(spec: PluginSpec) -> Iterator[str]:
    if not isinstance(spec, AttackSpec):
        return
    if not spec.goals:
        yield "goals is empty"
    for f in fields(spec.params):
        if ALIASES.get(f.name, f.name) in THREAT_FIELDS:
            yield f"parameter {f.name!r} has the name of a threat field; read it from the threat model"
    if Act.CORRUPT in spec.acts and "poison_fraction" not in spec.reads:
        yield "it corrupts federated rounds, so reads names poison_fraction: the share of clients that are malicious"
    if Act.TRIGGER in spec.acts and not spec.acts & {Act.POISON, Act.CORRUPT}:
        yield "it has a trigger, but neither poisons nor corrupts the training"
    fixed = {"when", "goal", "norm", "adaptive"}
    if unread := spec.threat.stated().keys() - spec.reads - fixed:
        yield f"threat states {', '.join(sorted(unread))}, which reads does not name"


def _faults_of_references(spec: PluginSpec) -> Iterator[str]:
    kinds = {f.name: info_of(f).reference for f in fields(spec.params)}
    named: list[tuple[str, str, Kind]] = []
    if isinstance(spec, AttackSpec):
        named += [("surrogates", name, Kind.VICTIM) for name in spec.surrogates]
        named += [("plugins", name, Kind.ATTACK) for name in spec.plugins]
    if isinstance(spec, VictimSpec) and spec.external is not None:
        named.append(("external", spec.external, Kind.DATASET))
    for where, name, kind in named:
        if kinds.get(name) is not kind:
            yield f"{where} names {name!r}, which is no parameter that refers to a {kind}"
