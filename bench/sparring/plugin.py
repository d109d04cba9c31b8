"""Declarations that plugins return from their hooks.

Import-light: the standard library and `sparring.threat` only, so that listing every plugin costs milliseconds.
A plugin is one file: a params class, a class that does the work (importing torch and friends inside its
methods), and a spec that names both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from sparring.threat import THREAT_FIELDS, Access, Goal, Norm, ThreatModel, When

T = TypeVar("T")


class Kind(StrEnum):
    """The five kinds of plugin."""

    DATASET = "dataset"
    VICTIM = "victim"
    ATTACK = "attack"
    DEFENCE = "defence"
    METRIC = "metric"


class Act(StrEnum):
    """What a plugin does: one stage, or one method of the loaded plugin, each. See `sparring.contracts`."""

    # victims
    FIT = "fit"
    PRETRAIN = "pretrain"
    FIT_ROUNDS = "fit rounds"
    # attacks
    POISON = "poison"
    TRIGGER = "trigger"
    PROBES = "probes"
    PERTURB = "perturb"
    CORRUPT = "corrupt"
    # defences
    SANITISE = "sanitise"
    REINFORCE = "reinforce"
    OWN_FIT = "own fit"
    INSPECT = "inspect"
    REPAIR = "repair"
    GUARD = "guard"
    DETECT = "detect"
    CERTIFY = "certify"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a numeric parameter: `at_least`/`at_most` include the end, `above`/`below` do not."""

    _: KW_ONLY
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """What a parameter means, for people (`sparring info`) and for validation."""

    meaning: str
    bounds: Bounds = Bounds()
    choices: tuple[str, ...] = ()
    unit: str = ""
    reference: Kind | None = None


PARAM_INFO = "sparring"
"""The key of a dataclass field's metadata under which its `ParamInfo` lies."""


def param(
    default: T,
    meaning: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    unit: str = "",
) -> T:
    """A field of a params class, with its meaning and limits.

    Example:
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Params:
            steps: int = param(40, "gradient steps", at_least=1)
    """
    bounds = Bounds(at_least=at_least, at_most=at_most, above=above, below=below)
    info = ParamInfo(meaning, bounds, choices, unit)
    return field(default=default, metadata={PARAM_INFO: info})


def reference(kind: Kind, default: str, meaning: str) -> Any:
    """A field that names another plugin, as a selector: `surrogate: Selection = reference(Kind.VICTIM, "cnn", ...)`.

    The value handed to the plugin is a resolved `Selection`. For a victim reference, the selector `victim` stands
    for the victim of the cell itself.
    """
    return field(default=default, metadata={PARAM_INFO: ParamInfo(meaning, reference=kind)})


@dataclass(frozen=True, slots=True, kw_only=True)
class NoParams:
    """For plugins without parameters."""


@dataclass(frozen=True, kw_only=True)
class PluginSpec:
    """What every plugin declares.

    Attributes:
        name: lower-case words joined by hyphens; unique within its kind.
        summary: one sentence.
        citation: where the method comes from (authors, year, title, section or arXiv number); "" for plain controls.
        params: a frozen, keyword-only dataclass; every field has a default.
        revision: raised by the author when results change for a reason that the source does not show.
        randomised: whether another seed gives another result, with the default parameters.
        extra: the optional dependency group that must be installed, as `pip install 'dist[extra]'`.
        load: `params -> plugin`; the only place where heavy imports may happen. Usually the class itself.
    """

    name: str
    summary: str
    load: Callable[[Any], Any]
    citation: str = ""
    params: type[Any] = NoParams
    revision: int = 1
    randomised: bool = True
    extra: str | None = None

    @property
    def kind(self) -> Kind:
        raise TypeError("declare a DatasetSpec, VictimSpec, AttackSpec, DefenceSpec or MetricSpec")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(PluginSpec):
    """A data set. `load(params)` gives a `sparring.contracts.Dataset`."""

    randomised: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.DATASET


@dataclass(frozen=True, kw_only=True)
class VictimSpec(PluginSpec):
    """A victim: something that is trained and attacked.

    Attributes:
        offers: what its fitted model gives an attacker or a defender, and `RECIPE` when its training follows one.
        acts: `FIT`, or `PRETRAIN` (frozen features and a head), or `FIT_ROUNDS` (federated).
        external: with `PRETRAIN`, the param that refers to the data set the features are trained on.
    """

    offers: frozenset[Access]
    acts: frozenset[Act] = frozenset({Act.FIT})
    external: str | None = None

    @property
    def kind(self) -> Kind:
        return Kind.VICTIM


@dataclass(frozen=True, kw_only=True)
class AttackSpec(PluginSpec):
    """An attack.

    Attributes:
        when: when it acts.
        acts: `POISON` (with `TRIGGER` for backdoors, `PROBES` for further evaluation inputs), `PERTURB`, `CORRUPT`.
        goals: goals it can pursue, the default first.
        norms: norms it can be bounded in, the default first; empty when it has no norm.
        reads: threat fields that change what it does. All others are dropped before cells are told apart. Who reads
            epsilon reads the norm that it is measured in, said or not.
        threat: the values of those fields where the suite states none.
        needs: what it must be given of the victim.
        surrogates: params that refer to victims; each is fitted by the harness (never the cell's own fit) and handed
            over in `aux.surrogates`.
        plugins: params that refer to attacks; each is loaded and handed over in `aux.attacks`.
    """

    when: When
    acts: frozenset[Act]
    goals: tuple[Goal, ...]
    norms: tuple[Norm, ...] = ()
    reads: frozenset[str] = frozenset()
    threat: ThreatModel = ThreatModel()
    needs: frozenset[Access] = frozenset()
    surrogates: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = self.reads - THREAT_FIELDS
        if unknown:
            raise ValueError(f"attack {self.name!r} reads unknown threat fields: {', '.join(sorted(unknown))}")
        if "epsilon" in self.reads and self.norms:
            object.__setattr__(self, "reads", self.reads | {"norm"})

    @property
    def kind(self) -> Kind:
        return Kind.ATTACK


@dataclass(frozen=True, kw_only=True)
class DefenceSpec(PluginSpec):
    """A defence.

    Attributes:
        acts: any of `SANITISE`, `REINFORCE`, `OWN_FIT`, `INSPECT`, `REPAIR`, `GUARD`, `DETECT`, `CERTIFY`.
        needs: what it must be given of the victim, by access.
        offers: what its guard, or the model of its own fit, still offers an attacker; `None`: whatever the victim does,
            its weights aside where a guard stands in front of them.
    """

    acts: frozenset[Act]
    needs: frozenset[Access] = frozenset()
    offers: frozenset[Access] | None = None

    @property
    def kind(self) -> Kind:
        return Kind.DEFENCE


class Direction(StrEnum):
    """Which way is better for the defender."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, kw_only=True)
class MetricSpec(PluginSpec):
    """A metric. `load(params)` gives a `sparring.contracts.Metric`.

    Attributes:
        definition: the formula in one sentence, so that nobody has to guess what a column means.
        direction: which way is better for the defender.
        unit: "%" for fractions shown as percentages (values stay in [0, 1]), "s", "" for counts.
        by_default: whether boards whose suite names no metrics have it. What is measured is part of a cell's key, so a
            metric that joins such boards puts their records out of date.
    """

    definition: str
    direction: Direction
    unit: str = ""
    by_default: bool = True
    randomised: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.METRIC


Spec = DatasetSpec | VictimSpec | AttackSpec | DefenceSpec | MetricSpec
SPEC_TYPES: Mapping[Kind, type[PluginSpec]] = {
    Kind.DATASET: DatasetSpec,
    Kind.VICTIM: VictimSpec,
    Kind.ATTACK: AttackSpec,
    Kind.DEFENCE: DefenceSpec,
    Kind.METRIC: MetricSpec,
}
