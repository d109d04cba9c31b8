"""Federated training: the harness makes the clients and says which of them are the attacker's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparring.data import ArrayDataset, Arrays, IntArray
from sparring.judge import rules_kept
from sparring.stage import RuleBroken

if TYPE_CHECKING:
    from sparring.contracts import Context, Corrupt, Update


@dataclass(frozen=True, eq=False)
class Attacker:
    """Who controls some of the clients.

    Attributes:
        name: for messages.
        attack: the loaded attack, whose `corrupt` is called.
        fraction: share of the clients that it controls.
        rows: rows of the training set that it poisoned; they lie with its clients.
        state: what its poisoning left.
    """

    name: str
    attack: Any
    fraction: float
    rows: IntArray
    state: Arrays


def malicious_clients(fraction: float, clients: int) -> int:
    """How many of the clients are the attacker's: those of the lowest numbers. Rounded down.

    Raises:
        ValueError: not one.
    """
    malicious = int(fraction * clients + 1e-9)
    if malicious == 0:
        raise ValueError(f"a poison fraction of {fraction:g} gives the attacker none of {clients} clients")
    return malicious


def dealt(train: ArrayDataset, clients: int, malicious: int, poisoned: IntArray, seed: int) -> list[ArrayDataset]:
    """The rows dealt to the clients at random, in equal parts; poisoned ones to the malicious clients, as far as they
    fit."""
    rng = np.random.default_rng([seed, clients])
    order = rng.permutation(len(train))
    if malicious:
        poison = np.isin(order, poisoned)
        order = np.concatenate([order[poison], order[~poison]])
        theirs = sum(len(part) for part in np.array_split(order, clients)[:malicious])
        order[:theirs] = rng.permutation(order[:theirs])
    return [train.rows(np.sort(part)) for part in np.array_split(order, clients)]


def corruption(attacker: Attacker | None, clients: int, ctx: Context) -> Corrupt:
    """What becomes of the clients' updates: those of the attacker's clients go through its `corrupt`, checked."""
    if attacker is None:
        return lambda update, client, round_: update
    malicious = malicious_clients(attacker.fraction, clients)

    def corrupt(update: Update, client: int, round_: int) -> Update:
        if client >= malicious:
            return update
        own = {name: change.clone() for name, change in update.items()}
        with rules_kept(attacker.name):
            sent: Update = attacker.attack.corrupt(own, client, round_, attacker.state, ctx)
        _check_update(attacker.name, update, sent)
        return sent

    return corrupt


def _check_update(plugin: str, honest: Update, sent: Update) -> None:
    shapes = {name: tuple(change.shape) for name, change in honest.items()}
    if {name: tuple(change.shape) for name, change in sent.items()} != shapes:
        raise RuleBroken(f"{plugin} sent an update whose names or shapes differ from the model's")
    if not all(bool(change.isfinite().all()) for change in sent.values()):
        raise RuleBroken(f"{plugin} sent an update with NaN or infinite values")
