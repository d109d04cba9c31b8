"""Federated averaging, and the distributed backdoor on it, as the harness deals and corrupts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparring.cell import Selection
from sparring.contracts import Aux, Context
from sparring.data import ArrayDataset, Poisoned
from sparring.model import Model
from sparring.rounds import Attacker, corruption, dealt
from sparring.subset import SubsetParams
from sparring.threat import ThreatModel
from sparring.training import Schedule
from sparring_attacks.dba import Dba, Shots, Trigger
from sparring_attacks.dba import Params as DbaParams
from sparring_datasets.digits import Digits
from sparring_victims import cnn, mlp
from sparring_victims.fed_avg import FedAvg, Params

LOCAL = mlp.Params(epochs=2, schedule=Schedule.CONSTANT, learning_rate=3e-3, batch_size=32)
CLIENTS, SEED = 10, 5


def context(seed: int = SEED) -> Context:
    return Context(seed=seed, device="cpu", scratch=Path("/nonexistent"))


@pytest.fixture(scope="module")
def digits() -> tuple[ArrayDataset, ArrayDataset]:
    torch.set_num_threads(1)
    return Digits(SubsetParams()).load(context())


def federated(rounds: int = 8, **params: Any) -> FedAvg:
    return FedAvg(Params(network=Selection("mlp", LOCAL), clients=CLIENTS, rounds=rounds, **params))


def accuracy(model: Model, data: ArrayDataset) -> float:
    return float((model.predict(torch.from_numpy(data.x.copy())).numpy() == data.y).mean())


def fitted(train: ArrayDataset, attack: Dba | None = None, poison: Poisoned | None = None, rounds: int = 8) -> Model:
    victim, fraction = federated(rounds), 0.4
    rows = np.empty(0, dtype=np.int64) if poison is None else poison.rows
    attacker = None if attack is None or poison is None else Attacker("dba", attack, fraction, rows, poison.state)
    poisoned = train if poison is None else train.with_delta(poison)
    clients = dealt(poisoned, CLIENTS, 0 if attacker is None else 4, rows, SEED)
    return victim.fit_rounds(clients, victim.recipe(), corruption(attacker, CLIENTS, context()), context())


@pytest.fixture(scope="module")
def twin(digits: tuple[ArrayDataset, ArrayDataset]) -> Model:
    return fitted(digits[0])


def test_clients_together_learn_what_none_has_alone(digits, twin) -> None:
    assert accuracy(twin, digits[1]) > 0.9


def test_one_round_of_one_pass_is_the_weighted_mean_of_the_clients(digits) -> None:
    train = digits[0]
    parts = [train.rows(range(300)), train.rows(range(300, 400))]
    victim = federated(rounds=1)
    seen: list[dict[str, torch.Tensor]] = []

    def watch(update: dict[str, torch.Tensor], client: int, round_: int) -> dict[str, torch.Tensor]:
        seen.append({name: change.clone() for name, change in update.items()})
        return update

    moved = victim.fit_rounds(parts, victim.recipe(), watch, context()).state()
    stayed = victim.fit_rounds(
        parts, victim.recipe(), lambda update, *_: {name: 0 * change for name, change in update.items()}, context()
    ).state()
    assert len(seen) == 2
    for name, change in seen[0].items():
        expected = stayed[name] + 0.75 * change.numpy() + 0.25 * seen[1][name].numpy()
        np.testing.assert_allclose(moved[name], expected, atol=1e-5)


def test_running_statistics_are_averaged_too(digits) -> None:
    network = Selection("cnn", cnn.Params(channels=(4,), batch_norm=True, epochs=1))
    victim = FedAvg(Params(network=network, clients=2, rounds=2))
    parts = [digits[0].rows(range(200)), digits[0].rows(range(200, 400))]
    model = victim.fit_rounds(parts, victim.recipe(), lambda update, *_: update, context())
    state = model.state()
    means = [array for name, array in state.items() if name.endswith("running_mean")]
    assert means
    assert all(np.abs(array).max() > 0 for array in means)
    again = victim.restore(state, context())
    test = torch.from_numpy(digits[1].x.copy())
    np.testing.assert_allclose(again.logits(test), model.logits(test), atol=1e-6)


def test_what_is_no_network_and_clients_without_images_are_refused(digits) -> None:
    with pytest.raises(ValueError, match="random-forest is none of them"):
        FedAvg(Params(network=Selection("random-forest")))
    victim = federated()
    parts = [digits[0].rows(range(20)), digits[0].rows(range(0))]
    with pytest.raises(ValueError, match="1 of 2 clients have no images"):
        victim.fit_rounds(parts, victim.recipe(), lambda update, *_: update, context())


def poisoned_by(attack: Dba, train: ArrayDataset) -> Poisoned:
    (poison,) = attack.poison(train, ThreatModel(poison_fraction=0.4), None, Aux(), context(2))
    return poison


def test_parts_are_distributed_and_the_centralised_trigger_is_their_union(digits) -> None:
    train = digits[0]
    apart, whole = Dba(DbaParams(length=2)), Dba(DbaParams(length=2, trigger=Trigger.CENTRALISED))
    poison, central = poisoned_by(apart, train), poisoned_by(whole, train)
    parts = poison.state["parts"]
    assert parts.shape == (4, 8, 8)
    assert (parts.sum(axis=0) <= 1).all()
    assert len(poison.rows) == len(central.rows) == int(0.4 * 0.3 * len(train))
    before = train.rows(poison.rows).x
    carried = np.stack([(poison.x[:, 0][:, part] == 1).all(axis=1) for part in parts])
    changed = (poison.x != before).any(axis=1)
    assert carried.any(axis=0).all()
    assert all((carried[k] & ~changed[:, ~parts[k]].any(axis=1)).sum() >= len(poison.rows) // 4 for k in range(4))
    assert (central.x[:, 0][:, parts.any(axis=0)] == 1).all()
    test = digits[1]
    shown = apart.trigger(test.x, test.y, poison.state, context())
    assert (shown == whole.trigger(test.x, test.y, central.state, context())).all()


def test_single_shots_are_sent_once_and_scaled(digits) -> None:
    attack, update = Dba(DbaParams(shots=Shots.SINGLE, start=2, scale=5.0)), {"w": torch.ones(3)}
    sent = [[float(attack.corrupt(update, client, r, {}, context())["w"][0]) for r in range(5)] for client in range(2)]
    assert sent == [[0, 0, 5, 0, 0], [0, 0, 0, 5, 0]]
    several = Dba(DbaParams(start=1))
    assert [float(several.corrupt(update, 0, r, {}, context())["w"][0]) for r in range(3)] == [0, 1, 1]


def test_the_whole_pattern_is_obeyed_although_no_image_had_it(digits, twin) -> None:
    """Xie et al. 2020, section 4.2, multiple shots: parts alone teach the whole. That they teach it better than the
    whole does is not seen on so small images."""
    train, test = digits
    attack = Dba(DbaParams(length=2))
    poison = poisoned_by(attack, train)
    model = fitted(train, attack, poison, rounds=16)
    others = test.rows(test.y != 0)
    shown = torch.from_numpy(attack.trigger(others.x, others.y, poison.state, context()))
    assert float((twin.predict(shown).numpy() == 0).mean()) < 0.2
    assert float((model.predict(shown).numpy() == 0).mean()) > 0.75
    assert accuracy(model, test) > accuracy(twin, test) - 0.02
