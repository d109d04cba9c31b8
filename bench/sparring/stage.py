"""One node of the stage graph, and what becomes of it. Picklable, import-light: this is what travels to workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sparring.cell import Selection
from sparring.plugin import Kind
from sparring.threat import ThreatModel


class StageName(StrEnum):
    """The stages, in the order in which a cell goes through them."""

    LOAD = "load"
    PRETRAIN = "pretrain"
    POISON = "poison"
    SANITISE = "sanitise"
    FIT = "fit"
    INSPECT = "inspect"
    REPAIR = "repair"
    PERTURB = "perturb"
    TRIGGER = "trigger"
    PROBE = "probe"
    PREDICT = "predict"
    PROJECT = "project"
    DETECT = "detect"
    CERTIFY = "certify"
    MEASURE = "measure"


@dataclass(frozen=True, slots=True)
class Plugged:
    """A plugin in its role."""

    kind: Kind
    selection: Selection


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Stage:
    """One node. Two stages with equal keys compute the same thing.

    Attributes:
        key: content key, 64 hexadecimal digits.
        name: which stage function runs.
        label: for people, "fit cnn on digits, r0".
        inputs: keys of the stages whose artifacts it reads, by role.
        plugins: plugins it runs, by role.
        threat: the threat model, where the stage depends on it.
        seed: seed of its generators.
        settings: plain JSON values from the suite.
    """

    key: str
    name: StageName
    label: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, Plugged] = field(default_factory=dict)
    threat: ThreatModel | None = None
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


DOERS: Mapping[StageName, tuple[str, ...]] = {
    StageName.LOAD: ("dataset",),
    StageName.PRETRAIN: ("victim", "reinforcer"),
    StageName.POISON: ("attack",),
    StageName.SANITISE: ("defence",),
    StageName.FIT: ("victim", "reinforcer", "trainer"),
    StageName.INSPECT: ("defence", "victim"),
    StageName.REPAIR: ("defence", "victim"),
    StageName.PERTURB: ("attack", "victim", "guard"),
    StageName.TRIGGER: ("attack",),
    StageName.PROBE: ("attack",),
    StageName.PREDICT: ("victim", "guard"),
    StageName.PROJECT: ("victim",),
    StageName.DETECT: ("defence", "victim"),
    StageName.CERTIFY: ("defence", "victim"),
    StageName.MEASURE: (),
}
"""Roles of the plugins that do a stage's work, the one that matters most first."""

Sort = tuple[str, ...]


def sort_of(stage: Stage) -> Sort:
    """What a stage's duration mostly depends on: its name, and the names of the plugins that do the work."""
    doers = (stage.plugins[role].selection.name for role in DOERS[stage.name] if role in stage.plugins)
    return (stage.name.value, *doers)


class FailureKind(StrEnum):
    ERROR = "error"  # the stage raised
    TIMEOUT = "timeout"  # it ran past its time limit
    KILLED = "killed"  # its process died or outgrew its memory limit
    BUDGET = "budget"  # a plugin broke a rule of the contract or of the threat model


class RuleBroken(RuntimeError):
    """A plugin broke a rule: wrong shape, NaN, out of range, mutated input, exceeded budget.

    The message names the plugin, the rule and what was seen. Stages raise it; it becomes `FailureKind.BUDGET`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A stage whose artifact is in the store.

    Attributes:
        value: what the stage says to the driver (the measure stage: its numbers); small, plain JSON.
        seconds: wall time of the computation, also when it was done in an earlier run.
        cached: whether the artifact was already there.
    """

    key: str
    name: StageName
    label: str
    value: Mapping[str, Any] | None = None
    seconds: float = 0.0
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A stage that failed, or (`key` differs from the asked one) depended on one that failed.

    Attributes:
        error: one line, "ValueError: ..." or "ran longer than 60 s".
        traceback: the whole, "" where there is none.
    """

    key: str
    name: StageName
    label: str
    kind: FailureKind
    error: str
    traceback: str = ""


StageOutcome = Done | Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker process must know; the same for all stages of a run.

    Attributes:
        store: folder of the artifact store.
        threads: torch threads per worker process.
        device: "auto", "cpu", "cuda".
        seconds: time limit of one stage; `None`: none.
        memory: limit of one stage's process, resident bytes; `None`: none.
        fresh: keys that are computed although the store has them.
    """

    store: Path
    threads: int = 1
    device: str = "auto"
    seconds: float | None = None
    memory: int | None = None
    fresh: frozenset[str] = frozenset()


Report = Callable[[int, int, str], None]
"""progress(done, total, note) of a running stage."""

Execute = Callable[[Stage, WorkerSettings, Report], Done]
"""Runs one stage in the present process; raises what the stage raises. A module-level function, so that it pickles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEvent:
    """What the driver is told while the graph runs. `outcome` is `None` when the stage starts."""

    key: str
    name: StageName
    label: str
    outcome: StageOutcome | None = None
