"""Why a cell cannot be run. Pure, and only from what plugins need and offer, or from a cited objection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sparring.catalogue import Catalogue
from sparring.cell import Cell, Selection
from sparring.plugin import Act, AttackSpec, DefenceSpec, VictimSpec
from sparring.threat import MODEL_ACCESS, Access, Knowledge, ThreatModel

GRANTED_BY_HARNESS = frozenset({Access.TRAINING_DATA, Access.ORACLE})
"""What the harness gives to whoever declares it; no victim has to offer it."""

GRANTED_BY_KNOWLEDGE = {
    Knowledge.WHITE_BOX: MODEL_ACCESS,
    Knowledge.SCORES: frozenset({Access.DECISIONS, Access.SCORES, Access.PROBABILITIES}),
    Knowledge.DECISIONS: frozenset({Access.DECISIONS}),
    Knowledge.NONE: frozenset[Access](),
}
"""What an attacker may use of the model, by what it knows."""


def reasons(cell: Cell, catalogue: Catalogue) -> tuple[str, ...]:
    """Why `cell` cannot be run, one sentence each; empty when it can.

    Raises:
        BadInput: the cell names a plugin that the catalogue does not have.
    """
    victim = catalogue.victim(cell.victim.name)
    attack = catalogue.attack(cell.attack.name)
    defence = catalogue.defence(cell.defence.name)
    found = [
        *_access_of_attack(cell, attack, victim, defence),
        *_acts_of_attack(attack, victim),
        *_threat(attack, cell.threat),
        *_references(cell, attack, catalogue),
        *_defence(defence, victim),
        *catalogue.objections(cell),
    ]
    return tuple(dict.fromkeys(found))


def _access_of_attack(cell: Cell, attack: AttackSpec, victim: VictimSpec, defence: DefenceSpec) -> Iterator[str]:
    offers, owner = victim.offers, victim.name
    guarded = Act.GUARD in defence.acts and cell.threat.adaptive is True
    behind = f"{victim.name} behind {defence.name}"
    if (guarded or Act.OWN_FIT in defence.acts) and defence.offers is not None:
        # a defended model cannot offer training access that the victim does not have
        offers, owner = defence.offers | (offers - MODEL_ACCESS), behind
    elif guarded and Access.WEIGHTS in attack.needs & offers:  # who has the weights has gone round the guard
        offers, owner = offers - {Access.WEIGHTS}, behind
    yield from _unmet(attack.name, attack.needs, owner, offers)


def _acts_of_attack(attack: AttackSpec, victim: VictimSpec) -> Iterator[str]:
    if Act.CORRUPT in attack.acts and Act.FIT_ROUNDS not in victim.acts:
        yield f"{attack.name} corrupts federated rounds; {victim.name} is not trained in rounds"
    before_training = Act.POISON in attack.acts and Act.PERTURB not in attack.acts
    if before_training and Access.FEATURES in attack.needs and Act.PRETRAIN not in victim.acts:
        yield f"{attack.name} needs the features before training; {victim.name} has no pretrained features"


def _threat(attack: AttackSpec, threat: ThreatModel) -> Iterator[str]:
    if threat.when is not None and threat.when is not attack.when:
        yield f"{attack.name} acts at {attack.when}; the threat model says {threat.when}"
    if threat.goal is not None and threat.goal not in attack.goals:
        yield f"{attack.name} pursues {_listed(attack.goals)}; the threat model says {threat.goal}"
    if threat.norm is not None and attack.norms and threat.norm not in attack.norms:
        yield f"{attack.name} is bounded in {_listed(attack.norms)}; the threat model says {threat.norm}"
    if threat.knowledge is not None:
        lacking = (attack.needs & MODEL_ACCESS) - GRANTED_BY_KNOWLEDGE[threat.knowledge]
        if lacking:
            yield f"{attack.name} needs {_listed(lacking)}; the threat model says knowledge {threat.knowledge}"


def _references(cell: Cell, attack: AttackSpec, catalogue: Catalogue) -> Iterator[str]:
    """Attacks that the attack runs against its surrogates need what these offer."""
    surrogates = _selections(cell.attack, attack.surrogates) or [cell.victim]
    for nested in _selections(cell.attack, attack.plugins):
        needs = catalogue.attack(nested.name).needs
        for surrogate in surrogates:
            yield from _unmet(nested.name, needs, surrogate.name, catalogue.victim(surrogate.name).offers)


def _selections(selection: Selection, names: Iterable[str]) -> list[Selection]:
    values: list[Any] = [getattr(selection.params, name) for name in names]
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return [part for part in parts if isinstance(part, Selection)]


def _defence(defence: DefenceSpec, victim: VictimSpec) -> Iterator[str]:
    implied = frozenset({Access.RECIPE}) if Act.REINFORCE in defence.acts else frozenset[Access]()
    yield from _unmet(defence.name, defence.needs | implied, victim.name, victim.offers)
    if Act.OWN_FIT in defence.acts and Act.FIT not in victim.acts:
        yield f"{defence.name} trains the victim itself; {victim.name} has no plain fit"
    if Act.SANITISE in defence.acts and Act.FIT_ROUNDS in victim.acts and Act.FIT not in victim.acts:
        yield f"{defence.name} looks through the training rows; those of {victim.name} stay with its clients"


def _unmet(who: str, needs: frozenset[Access], owner: str, offers: frozenset[Access]) -> Iterator[str]:
    if lacking := needs - offers - GRANTED_BY_HARNESS:
        yield f"{who} needs {_listed(lacking)}; {owner} offers {_listed(offers) or 'nothing'}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(str(name) for name in names))
