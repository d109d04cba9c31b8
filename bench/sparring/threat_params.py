"""Threat fields as they are written: among an attack's own parameters, or on the threat axis of a suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sparring.errors import BadInput, near_miss
from sparring.params import broken_bound, sweep
from sparring.plugin import Act, AttackSpec, Bounds, DefenceSpec, ParamInfo
from sparring.threat import ALIASES, MODEL_ACCESS, THREAT_FIELDS, Budget, ThreatModel

THREAT_INFO: Mapping[str, ParamInfo] = {
    "when": ParamInfo("when the attacker acts"),
    "goal": ParamInfo("what the attacker wants"),
    "knowledge": ParamInfo("what the attacker sees of the victim"),
    "adaptive": ParamInfo("whether the attacker knows the guard in front of the model"),
    "norm": ParamInfo("the norm that epsilon is measured in"),
    "budget": ParamInfo("bounded: epsilon constrains; minimal: the distortion is the result"),
    "epsilon": ParamInfo("largest distortion of one image, in [0, 1] pixels", Bounds(at_least=0)),
    "poison_fraction": ParamInfo("poisoned rows / all rows of the training set", Bounds(at_least=0, at_most=1)),
    "label_changes": ParamInfo("whether poisoned rows may carry another label"),
    "query_budget": ParamInfo("model evaluations per attacked image", Bounds(at_least=1)),
}
"""What each threat field means, and its limits."""


def threat_models(raw: Mapping[str, Any], owner: str) -> list[ThreatModel]:
    """The partial threat models that a mapping states; a list is swept, the short names of `ALIASES` are known.

    Raises:
        BadInput: unknown or doubled field, wrong type, out of range, or an epsilon beside `budget=minimal`.
    """
    named: dict[str, Any] = {}
    for key, value in raw.items():
        field = ALIASES.get(str(key), str(key))
        if field not in THREAT_FIELDS:
            guess = near_miss(field, [*THREAT_FIELDS, *ALIASES])
            raise BadInput(f"{owner} has no field {str(key)!r}{guess}", trail=(str(key),))
        if field in named:
            raise BadInput(f"{owner}: {field} is set twice", trail=(str(key),))
        named[field] = value
    models: list[ThreatModel] = sweep(ThreatModel, named, owner)
    for model in models:
        _check(model, owner)
    return models


def _check(model: ThreatModel, owner: str) -> None:
    for name, value in model.stated().items():
        if broken := broken_bound(value, bounds) if (bounds := THREAT_INFO[name].bounds) != Bounds() else None:
            raise BadInput(f"{owner}: {name} must be {broken}, not {value:g}", trail=(name,))
    if model.budget is Budget.MINIMAL and model.epsilon is not None:
        raise BadInput(f"{owner}: a minimal budget has no epsilon", trail=("epsilon",))


def needs_model(spec: AttackSpec) -> bool:
    """Whether the attack perturbs inputs with access to the model, so that it matters whether it knows a guard."""
    return Act.PERTURB in spec.acts and bool(spec.needs & MODEL_ACCESS)


def readable(spec: AttackSpec) -> frozenset[str]:
    """The threat fields that may be stated beside the attack's own parameters."""
    return spec.reads | {"adaptive"} if needs_model(spec) else spec.reads


def lift(spec: AttackSpec, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the attack's own parameters, threat fields) of what was written together.

    Raises:
        BadInput: a threat field that the attack does not read.
    """
    own_names = {f.name for f in fields(spec.params)}
    own: dict[str, Any] = {}
    lifted: dict[str, Any] = {}
    for key, value in raw.items():
        name = ALIASES.get(str(key), str(key))
        is_threat = key not in own_names and name in THREAT_FIELDS
        if is_threat and name not in readable(spec):
            reads = ", ".join(sorted(readable(spec))) or "no threat field"
            raise BadInput(f"{spec.name} does not read {name}; it reads {reads}", trail=(str(key),))
        (lifted if is_threat else own)[str(key)] = value
    return own, lifted


def usual_threat(spec: AttackSpec) -> ThreatModel:
    """What holds for the attack when nobody states anything: its defaults, the first of its goals and norms."""
    goal = spec.goals[0] if spec.goals else None
    norm = spec.norms[0] if spec.norms and "norm" in spec.reads else None
    return spec.threat.restricted_to(spec.reads).over(ThreatModel(when=spec.when, goal=goal, norm=norm))


def threat_of_cell(spec: AttackSpec, inline: ThreatModel, axis: ThreatModel) -> ThreatModel:
    """The threat model of a cell, without `adaptive`: stated beside the attack, else on the axis, else the usual.

    Fields that the attack does not read are dropped. Stating an epsilon means a bounded budget.
    """
    reads = spec.reads - {"adaptive"}
    near, far = (_bounded_by_epsilon(layer.restricted_to(reads)) for layer in (inline, axis))
    merged = near.over(far).over(usual_threat(spec))
    if merged.budget is Budget.MINIMAL:
        merged = replace(merged, epsilon=None)
    return merged.restricted_to(reads | {"when", "goal"})


def _bounded_by_epsilon(layer: ThreatModel) -> ThreatModel:
    stated_only_epsilon = layer.epsilon is not None and layer.budget is None
    return replace(layer, budget=Budget.BOUNDED) if stated_only_epsilon else layer


def knowledge_of_guard(
    attack: AttackSpec, defence: DefenceSpec, inline: ThreatModel, axis: ThreatModel
) -> tuple[bool | None, ...]:
    """The values of `adaptive` that a cell is run with: both, where there is a guard that the attack could know."""
    if Act.GUARD not in defence.acts or not needs_model(attack):
        return (None,)
    stated = inline.over(axis).over(attack.threat).adaptive
    return (False, True) if stated is None else (stated,)


def fixed_by_declaration(spec: AttackSpec) -> ThreatModel:
    """The part of the usual threat model that labels leave out: all but the sizes of the budget."""
    return usual_threat(spec).restricted_to(THREAT_FIELDS - {"epsilon", "poison_fraction", "query_budget"})
