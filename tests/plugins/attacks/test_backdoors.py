"""Backdoors: what their triggers change, and that a network trained on them obeys the trigger and is good without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparring.contracts import Aux, TriggerAttack
from sparring.data import ArrayDataset, Poisoned, distortion
from sparring.model import Model
from sparring.threat import ThreatModel
from sparring_attacks import triggers
from sparring_attacks.badnets import BadNets, Mapping, Trigger
from sparring_attacks.badnets import Params as BadNetsParams
from sparring_attacks.clean_label_backdoor import CleanLabelBackdoor
from sparring_attacks.clean_label_backdoor import Params as CleanLabelParams
from sparring_attacks.hidden_trigger import HiddenTrigger
from sparring_attacks.hidden_trigger import Params as HiddenParams
from sparring_attacks.sleeper_agent import Params as SleeperParams
from sparring_attacks.sleeper_agent import SleeperAgent
from sparring_victims.mlp import Mlp
from sparring_victims.mlp import Params as MlpParams

FIT = range(1437)
HELD = range(1437, 1797)


@pytest.fixture(scope="module")
def train(digits: ArrayDataset) -> ArrayDataset:
    return digits.rows(FIT)


@pytest.fixture(scope="module")
def held(digits: ArrayDataset) -> ArrayDataset:
    return digits.rows(HELD)


def fitted(train: ArrayDataset, context: Any) -> Model:
    victim = Mlp(MlpParams(epochs=15))
    return victim.fit(train, victim.recipe(), context(11))


def accuracy(model: Model, data: ArrayDataset) -> float:
    return float((model.predict(torch.from_numpy(np.array(data.x))).numpy() == data.y).mean())


def obeyed(model: Model, attack: TriggerAttack, poison: Poisoned, held: ArrayDataset, context: Any) -> float:
    """Share of triggered held-out images of other classes that get the wanted label."""
    goal = attack.target_of(held.y)
    others = held.rows(goal != held.y)
    x = attack.trigger(others.x, others.y, poison.state, context(3))
    answers = model.predict(torch.from_numpy(np.array(x))).numpy()
    return float((answers == goal[goal != held.y]).mean())


@pytest.fixture(scope="module")
def clean(train: ArrayDataset, tmp_path_factory: pytest.TempPathFactory) -> Model:
    from sparring.contracts import Context

    scratch = tmp_path_factory.mktemp("clean")
    return fitted(train, lambda seed: Context(seed=seed, device="cpu", scratch=scratch))


@pytest.mark.parametrize(
    ("params", "fraction", "least", "cost"),
    [
        ({}, 0.05, 0.9, 0.025),
        ({"trigger": Trigger.BLENDED}, 0.05, 0.9, 0.025),
        ({"trigger": Trigger.WARPED}, 0.05, 0.9, 0.025),
        # who is to answer with the class after the right one has to find the right one: at most its accuracy (0.9),
        # and as many images teach one as the other
        ({"mapping": Mapping.ALL_TO_ALL, "trigger": Trigger.BLENDED}, 0.5, 0.75, 0.06),
    ],
    ids=["patch", "blended", "warped", "all-to-all"],
)
def test_badnets_are_obeyed_and_hardly_cost_accuracy(
    context, train, held, clean, params, fraction, least, cost
) -> None:
    attack = BadNets(BadNetsParams(**params))
    (poison,) = attack.poison(train, ThreatModel(poison_fraction=fraction), None, Aux(), context(1))
    model = fitted(train.with_delta(poison), context)
    assert obeyed(model, attack, poison, held, context) >= least
    assert obeyed(clean, attack, poison, held, context) < 0.2
    assert accuracy(model, held) > accuracy(clean, held) - cost


def test_all_to_all_raises_every_label_by_one_and_is_told_the_classes(context, train) -> None:
    attack = BadNets(BadNetsParams(mapping=Mapping.ALL_TO_ALL))
    (poison,) = attack.poison(train, ThreatModel(poison_fraction=0.3), None, Aux(), context())
    assert (poison.y == (train.y[poison.rows] + 1) % 10).all()
    assert set(train.y[poison.rows]) == set(range(10))
    with pytest.raises(ValueError, match="told of 7 classes; there are 10"):
        BadNets(BadNetsParams(mapping=Mapping.ALL_TO_ALL, classes=7)).poison(
            train, ThreatModel(poison_fraction=0.3), None, Aux(), context()
        )


def test_blended_images_are_the_stated_mixture(context, train) -> None:
    (poison,) = BadNets(BadNetsParams(trigger=Trigger.BLENDED, blend=0.25)).poison(
        train, ThreatModel(poison_fraction=0.1), None, Aux(), context()
    )
    expected = 0.75 * train.rows(poison.rows).x + 0.25 * poison.state["pattern"]
    np.testing.assert_allclose(poison.x, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 13)])
def test_a_warp_moves_pixels_by_its_strength_and_a_weak_one_by_nothing(shape) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((5, *shape), dtype=np.float32)
    height, width = shape[1:]
    weak = triggers.warp(4, 1e-7, height, width, np.random.default_rng(1))
    np.testing.assert_allclose(triggers.warped(x, weak), x, atol=1e-4)
    strong = triggers.warp(4, 2.0, height, width, np.random.default_rng(1))
    moved = np.abs(strong["warp"] - weak["warp"]) * np.array([width - 1, height - 1]) / 2
    assert 0.3 < moved.mean() < 2
    assert not np.allclose(triggers.warped(x, strong), x, atol=0.05)
    constant = np.full((2, *shape), 0.5, dtype=np.float32)
    np.testing.assert_allclose(triggers.warped(constant, strong), constant, atol=1e-6)


def test_noisy_warps_keep_their_labels_and_are_part_of_the_fraction(context, train) -> None:
    attack = BadNets(BadNetsParams(trigger=Trigger.WARPED, noise_rows=2))
    (poison,) = attack.poison(train, ThreatModel(poison_fraction=0.1), None, Aux(), context())
    relabelled = poison.y != train.y[poison.rows]
    assert len(poison.rows) == 143
    assert relabelled.sum() == 48
    before = train.rows(poison.rows)
    exact = attack.trigger(before.x, before.y, poison.state, context())
    same = (exact == poison.x).all(axis=(1, 2, 3))
    assert same[relabelled].all()
    assert not same[~relabelled].any()


def test_hard_images_make_the_patch_count_more_than_it_does_alone(context, train, held, clean) -> None:
    """Turner et al. 2019, figure 3: the same patch on unchanged images of the target class does little."""
    success = {}
    for perturbation in (0.0, 0.5):
        attack = CleanLabelBackdoor(CleanLabelParams(perturbation=perturbation))
        threat = ThreatModel(poison_fraction=0.08, label_changes=False)
        (poison,) = attack.poison(train, threat, None, Aux(surrogates={"surrogate": clean}), context(1))
        before = train.rows(poison.rows)
        assert (poison.y == before.y).all()
        assert (before.y == 0).all()
        outside = ~poison.state["mask"]
        assert np.abs(poison.x - before.x)[:, :, outside].max(initial=0) <= perturbation + 1e-6
        assert (poison.x[:, :, poison.state["mask"]] == 1).all()
        model = fitted(train.with_delta(poison), context)
        success[perturbation] = obeyed(model, attack, poison, held, context)
        assert accuracy(model, held) > accuracy(clean, held) - 0.025
    assert success[0.5] > success[0.0] + 0.05
    assert success[0.5] > 0.25


def test_a_sleeper_obeys_a_patch_that_no_training_image_has(context, train, held, clean) -> None:
    attack = SleeperAgent(SleeperParams())
    threat = ThreatModel(poison_fraction=0.09, epsilon=0.3, label_changes=False)
    (poison,) = attack.poison(train, threat, None, Aux(surrogates={"surrogate": clean}), context(1))
    before = train.rows(poison.rows)
    assert (poison.y == before.y).all()
    assert distortion(before.x, poison.x).linf.max() <= 0.3
    assert not (poison.x[:, :, poison.state["mask"]] == 1).all(axis=(1, 2)).any()
    model = fitted(train.with_delta(poison), context)
    assert obeyed(clean, attack, poison, held, context) < 0.1
    assert obeyed(model, attack, poison, held, context) > 0.5
    assert accuracy(model, held) > accuracy(clean, held) - 0.06


def test_hidden_triggers_come_nearer_to_patched_images_and_stay_within_the_bound(context, train, clean) -> None:
    attack = HiddenTrigger(HiddenParams(steps=40))
    threat = ThreatModel(poison_fraction=0.05, epsilon=0.2)
    (poison,) = attack.poison(train, threat, None, Aux(features=clean), context(1))
    before = train.rows(poison.rows)
    assert (poison.y == before.y).all()
    assert distortion(before.x, poison.x).linf.max() <= 0.2
    others = train.rows(train.y != 0)
    patched = clean.features(torch.from_numpy(attack.trigger(others.x, others.y, poison.state, context())))

    def nearest(x: np.ndarray[Any, Any]) -> float:
        return float(torch.cdist(clean.features(torch.from_numpy(np.array(x))), patched).min(dim=1).values.mean())

    assert nearest(poison.x) < 0.8 * nearest(before.x)
