"""One distribution of small declarations, for tests of discovery, suites and applicability. Nothing in it is loaded."""

from __future__ import annotations

import pytest

ZOO = """
from dataclasses import dataclass
from enum import StrEnum

from sparring.cell import Selection
from sparring.hookspecs import hookimpl
from sparring.plugin import (
    Act, AttackSpec, DatasetSpec, DefenceSpec, Direction, Kind, MetricSpec, VictimSpec, param, reference,
)
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When


class Backend(StrEnum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    classes: tuple[int, ...] = param((), "labels that are kept; empty: all")
    limit_train: int = param(0, "training rows that are kept; 0: all", at_least=0)
    limit_test: int = param(0, "test rows that are kept; 0: all", at_least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgd:
    steps: int = param(40, "gradient steps", at_least=1)
    step_size: float | None = param(None, "length of a step; null: 2.5 epsilon / steps", above=0)
    backend: Backend = param(Backend.FAST, "which implementation")
    mask: tuple[int, ...] = param((), "pixels that stay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    attack: Selection = reference(Kind.ATTACK, "pgd", "attack that is run on the surrogate")
    surrogate: Selection = reference(Kind.VICTIM, "cnn", "what the attack is run on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Squeeze:
    bits: int = param(4, "bits a value", at_least=1, at_most=8)


NETWORK = frozenset({Access.DECISIONS, Access.SCORES, Access.GRADIENTS, Access.FEATURES, Access.RECIPE})
EPSILON = frozenset({"epsilon", "norm", "goal"})


def load(params):
    return ("loaded", params)


@hookimpl
def sparring_datasets():
    yield DatasetSpec(name="dots", summary="Dots.", load=load, params=Images)
    yield DatasetSpec(name="lines", summary="Lines.", load=load, params=Images)


@hookimpl
def sparring_victims():
    rounds = frozenset({Act.FIT_ROUNDS})
    frozen = frozenset({Act.PRETRAIN})
    yield VictimSpec(name="cnn", summary="A network.", load=load, offers=NETWORK)
    opened = NETWORK | {Access.WEIGHTS}
    yield VictimSpec(name="open-cnn", summary="A network that can be read.", load=load, offers=opened)
    scores = frozenset({Access.DECISIONS, Access.SCORES})
    yield VictimSpec(name="random-forest", summary="Trees.", load=load, offers=scores)
    yield VictimSpec(name="federated-cnn", summary="A network of clients.", load=load, offers=NETWORK, acts=rounds)
    yield VictimSpec(name="frozen-cnn", summary="A head on features.", load=load, offers=NETWORK, acts=frozen)


@hookimpl
def sparring_attacks():
    perturb, poison = frozenset({Act.PERTURB}), frozenset({Act.POISON})
    gradients = frozenset({Access.GRADIENTS})
    yield AttackSpec(
        name="none", summary="No attack.", load=load, when=When.NEVER, acts=frozenset(), goals=(Goal.NOTHING,)
    )
    yield AttackSpec(
        name="pgd", summary="Projected gradient descent.", citation="Madry et al. 2018", load=load, params=Pgd,
        when=When.INFERENCE, acts=perturb, goals=(Goal.EVASION, Goal.TARGETED), norms=(Norm.LINF, Norm.L2),
        reads=EPSILON, threat=ThreatModel(epsilon=0.3), needs=gradients,
    )
    yield AttackSpec(
        name="fgsm", summary="One step.", load=load, when=When.INFERENCE, acts=perturb, goals=(Goal.EVASION,),
        norms=(Norm.LINF,), reads=EPSILON, threat=ThreatModel(epsilon=0.3), needs=gradients,
    )
    yield AttackSpec(
        name="carlini-wagner", summary="Smallest distortion.", load=load, when=When.INFERENCE, acts=perturb,
        goals=(Goal.EVASION,), norms=(Norm.L2,), reads=EPSILON | {"budget"},
        threat=ThreatModel(budget=Budget.MINIMAL), needs=gradients,
    )
    yield AttackSpec(
        name="square", summary="Random search.", load=load, when=When.INFERENCE, acts=perturb, goals=(Goal.EVASION,),
        norms=(Norm.LINF,), reads=EPSILON | {"query_budget", "knowledge"},
        threat=ThreatModel(epsilon=0.3, query_budget=100), needs=frozenset({Access.SCORES}),
    )
    yield AttackSpec(
        name="transfer", summary="By a surrogate.", load=load, params=Transfer, when=When.INFERENCE, acts=perturb,
        goals=(Goal.EVASION,), norms=(Norm.LINF,), reads=EPSILON, threat=ThreatModel(epsilon=0.3),
        surrogates=("surrogate",), plugins=("attack",),
    )
    yield AttackSpec(
        name="label-flip", summary="Wrong labels.", load=load, when=When.TRAINING, acts=poison,
        goals=(Goal.AVAILABILITY,), reads=frozenset({"poison_fraction"}), threat=ThreatModel(poison_fraction=0.1),
    )
    yield AttackSpec(
        name="collision", summary="Poison frogs.", load=load, when=When.TRAINING, acts=poison, goals=(Goal.TARGETED,),
        needs=frozenset({Access.FEATURES}),
    )
    yield AttackSpec(
        name="boost", summary="Model replacement.", load=load, when=When.TRAINING, acts=frozenset({Act.CORRUPT}),
        goals=(Goal.BACKDOOR,), reads=frozenset({"poison_fraction"}), threat=ThreatModel(poison_fraction=0.1),
    )
    yield AttackSpec(
        name="cheat", summary="Knows the truth.", load=load, when=When.TRAINING, acts=poison,
        goals=(Goal.AVAILABILITY,), needs=frozenset({Access.ORACLE, Access.TRAINING_DATA}),
    )
    yield AttackSpec(
        name="surgeon", summary="Reads the weights.", load=load, when=When.INFERENCE, acts=perturb,
        goals=(Goal.EVASION,), needs=frozenset({Access.WEIGHTS}),
    )


@hookimpl
def sparring_defences():
    decisions = frozenset({Access.DECISIONS})
    yield DefenceSpec(name="none", summary="No defence.", load=load, acts=frozenset())
    yield DefenceSpec(name="squeeze", summary="Fewer bits.", load=load, params=Squeeze, acts=frozenset({Act.GUARD}))
    yield DefenceSpec(name="opaque", summary="Labels only.", load=load, acts=frozenset({Act.GUARD}), offers=decisions)
    yield DefenceSpec(name="votes", summary="Partitions.", load=load, acts=frozenset({Act.OWN_FIT}), offers=decisions)
    yield DefenceSpec(name="reinforced", summary="Trained on attacks.", load=load, acts=frozenset({Act.REINFORCE}))
    yield DefenceSpec(name="cleaner", summary="Drops rows.", load=load, acts=frozenset({Act.SANITISE}))
    yield DefenceSpec(name="alarm", summary="Rejects inputs.", load=load, acts=frozenset({Act.DETECT}))


@hookimpl
def sparring_metrics():
    yield MetricSpec(
        name="accuracy", summary="Right.", load=load, definition="right / all", direction=Direction.HIGHER, unit="%"
    )


@hookimpl
def sparring_objections(cell):
    if cell.attack.name == "label-flip" and cell.victim.name == "frozen-cnn":
        yield "label-flip says nothing about frozen features (Nobody 2020, section 3)"
"""


@pytest.fixture
def zoo(install, monkeypatch):
    """The catalogue of the toy distribution alone."""
    from sparring.catalogue import discover

    install("toy-zoo", ZOO, version="2.1")
    monkeypatch.setenv("SPARRING_PLUGINS", "toy-zoo")
    return discover()
