"""`sparring contracts`: what a plugin must do, act by act, as the protocols of `sparring.contracts` say it."""

from __future__ import annotations

from textwrap import indent

import click

from sparring.documentation import Told, contract_rules, public_classes
from sparring.errors import BadInput, near_miss
from sparring.plugin import Act, Kind

CONTRACTS: dict[Kind, dict[str, str]] = {
    Kind.DATASET: {"load": "Dataset"},
    Kind.VICTIM: {Act.FIT: "Victim", Act.PRETRAIN: "FrozenFeatureVictim", Act.FIT_ROUNDS: "FederatedVictim"},
    Kind.ATTACK: {
        Act.PERTURB: "EvasionAttack",
        Act.POISON: "PoisonAttack",
        Act.TRIGGER: "TriggerAttack",
        Act.PROBES: "ProbingAttack",
        Act.CORRUPT: "CorruptAttack",
    },
    Kind.DEFENCE: {
        Act.SANITISE: "Sanitiser",
        Act.REINFORCE: "Reinforcer",
        Act.OWN_FIT: "TrainingDefence",
        Act.INSPECT: "Inspector",
        Act.REPAIR: "Repairer",
        Act.GUARD: "Guardian",
        Act.DETECT: "Detector",
        Act.CERTIFY: "Certifier",
    },
    Kind.METRIC: {"measure": "Metric"},
}
"""Kind -> act (or, where a kind has one duty only, its method) -> the protocol that a loaded plugin satisfies."""


@click.command("contracts")
@click.argument("what", required=False)
def command(what: str | None) -> None:
    """Show the methods that a plugin implements: those of a kind, of one act, or all.

    WHAT is a kind (attack), an act (perturb, 'own fit'), or a class that plugins are handed or return (Aux, Context,
    ArrayDataset, Model, ...).

    \b
    sparring contracts attack
    sparring contracts guard
    sparring contracts Context
    """
    known = public_classes()
    chosen = {kind: acts for kind, acts in _by_kind(what).items() if acts}
    if chosen:
        click.echo("\n\n".join([contract_rules(), *(_kind(kind, acts, known) for kind, acts in chosen.items())]))
    elif what in known:
        click.echo(_class(known[what]))
    else:
        names = [*Kind, *(act for acts in CONTRACTS.values() for act in acts), *known]
        raise BadInput(f"there is no kind, act or class {what!r}{near_miss(str(what), names)}")


def _by_kind(what: str | None) -> dict[Kind, dict[str, str]]:
    """The part of `CONTRACTS` that is asked for."""
    if what is None:
        return CONTRACTS
    return {
        kind: acts if what == kind else {a: p for a, p in acts.items() if a == what} for kind, acts in CONTRACTS.items()
    }


def _kind(kind: Kind, acts: dict[str, str], known: dict[str, Told]) -> str:
    parts = [kind.value, *(_described(act, known[protocol]) for act, protocol in acts.items())]
    if types := _types(acts, known):
        parts.append(f"types: {', '.join(types)} (each: sparring contracts TYPE)")
    return indent("\n\n".join(parts), "  ").strip()


def _types(acts: dict[str, str], known: dict[str, Told]) -> list[str]:
    """The classes that the methods are handed and return."""
    protocols = {protocol for each in CONTRACTS.values() for protocol in each.values()}
    mentioned = {word for protocol in acts.values() for word in known[protocol].mentions()}
    return [name for name in known if name in mentioned - protocols]


def _class(told: Told) -> str:
    return _described(told.line, told)


def _described(title: str, told: Told) -> str:
    parts = [told.text + "\n" * ("\n" in told.text)] if told.text else []
    parts += [f"{member.line}\n{indent(member.text, '    ')}".rstrip() for member in told.members]
    return f"{title}\n{indent(chr(10).join(parts), '  ')}"
