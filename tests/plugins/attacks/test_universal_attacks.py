"""Attacks made of the attacker's images: difference of means, universal perturbations, feature adversaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sparring.contracts import Aux
from sparring.data import ArrayDataset
from sparring.model import MeteredModel, Model
from sparring.threat import Access, Goal, Norm, ThreatModel
from sparring_attacks import difference_of_means, feature_adversary, targeted_uap, uap, uniform_noise
from sparring_attacks.attacker_data import attacker_data

LINF = ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.3)
TO_LABELS = ThreatModel(goal=Goal.TARGETED, norm=Norm.LINF, epsilon=0.3)
FEATURES = frozenset({Access.GRADIENTS, Access.FEATURES})


@pytest.fixture(scope="module")
def train(digits) -> ArrayDataset:
    return ArrayDataset(digits.x[:-300], digits.y[:-300], digits.class_names)


def success(model: Model, x_adv: Tensor, labels: Tensor) -> float:
    return float((model.predict(x_adv) != labels).float().mean())


def reached(model: Model, x_adv: Tensor, labels: Tensor) -> float:
    return float((model.predict(x_adv) == labels).float().mean())


def test_difference_of_means_beats_noise_and_asks_nothing(victim, images, labels, train, context) -> None:
    view = MeteredModel(victim, frozenset())
    attack = difference_of_means.DifferenceOfMeans(difference_of_means.SPEC.params())
    noise = uniform_noise.UniformNoise(uniform_noise.SPEC.params())
    threat = ThreatModel(norm=Norm.LINF, epsilon=0.2)
    moved = attack.perturb(view, images, labels, threat, Aux(train=train), context())
    assert success(victim, moved, labels) > 0.5
    assert success(victim, noise.perturb(view, images, labels, threat, Aux(), context()), labels) < 0.2
    assert view.meter.forward == view.meter.gradient == 0


def test_difference_of_means_leads_to_the_wanted_class(victim, images, labels, train, context) -> None:
    wanted = (labels + 3) % 10
    attack = difference_of_means.DifferenceOfMeans(difference_of_means.SPEC.params())
    aux = Aux(train=train, goal_labels=wanted)
    l2 = ThreatModel(goal=Goal.TARGETED, norm=Norm.L2, epsilon=3.0)
    moved = attack.perturb(MeteredModel(victim, frozenset()), images, labels, l2, aux, context())
    assert reached(victim, moved, wanted) > 0.5
    means = torch.stack([torch.tensor(train.x[train.y == k]).mean(0) for k in range(10)])
    towards = (means[wanted] - means[labels]).flatten(1)
    change = (moved - images).flatten(1)
    assert float(torch.cosine_similarity(change, towards).median()) > 0.7  # clipped at 0 and 1


def test_classes_without_images_are_not_moved_to(images, labels, train, context) -> None:
    some = train.rows((train.y < 2).nonzero()[0])
    means, known = difference_of_means.class_means(some, images)
    assert known.tolist() == [True, True] + [False] * 8
    nearest = difference_of_means.nearest_class(means, known)
    assert nearest[:2].tolist() == [1, 0]
    assert (nearest < 2).all()


def test_attackers_own_rows_come_first(train) -> None:
    own = train.rows(np.arange(5))
    assert attacker_data(Aux(train=train, attacker_val=own)) is own
    assert attacker_data(Aux(train=train)) is train
    with pytest.raises(ValueError, match="TRAINING_DATA"):
        attacker_data(Aux())


def test_one_perturbation_fools_most_images_it_was_not_made_on(
    victim, images, labels, train, white_box, context
) -> None:
    attack = uap.UniversalPerturbation(uap.Params())
    view = white_box(victim)
    moved = attack.perturb(view, images, labels, LINF, Aux(train=train), context())
    changed = victim.predict(moved) != victim.predict(images)
    assert changed.float().mean() > 0.4
    noise = uniform_noise.UniformNoise(uniform_noise.SPEC.params())
    random = noise.perturb(view, images, labels, LINF, Aux(), context())
    assert success(victim, moved, labels) > success(victim, random, labels) + 0.25
    again = attack.perturb(view, images[:7], labels[:7], LINF, Aux(train=train), context())
    assert torch.equal(again, moved[:7])  # whatever the images are


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_universal_perturbations_are_one(victim, images, labels, train, white_box, context, norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.3 if norm is Norm.LINF else 0.8)
    grey = 0.4 + 0.2 * images  # nothing is clipped
    attack = uap.UniversalPerturbation(uap.Params(images=60, passes=1))
    change = attack.perturb(white_box(victim), grey, labels, threat, Aux(train=train), context()) - grey
    torch.testing.assert_close(change, change[:1].expand_as(change), atol=1e-5, rtol=0)
    assert change.abs().max() > 0.05


def test_targeted_universal_perturbations_lead_to_their_label(
    victim, images, labels, train, white_box, context
) -> None:
    wanted = (labels + 3) % 10
    attack = targeted_uap.TargetedUniversalPerturbation(targeted_uap.Params(images=200, steps=40))
    moved = attack.perturb(
        white_box(victim), images, labels, TO_LABELS, Aux(train=train, goal_labels=wanted), context()
    )
    assert reached(victim, moved, wanted) > 0.4
    assert reached(victim, images, wanted) < 0.05
    grey = 0.4 + 0.2 * images[:40]
    change = (
        attack.perturb(
            white_box(victim), grey, labels[:40], TO_LABELS, Aux(train=train, goal_labels=wanted[:40]), context()
        )
        - grey
    )
    for label in wanted[:40].unique():
        same = change[wanted[:40] == label]
        torch.testing.assert_close(same, same[:1].expand_as(same), atol=1e-5, rtol=0)
        assert same.abs().max() > 0.1


def test_feature_adversaries_look_like_a_guide_inside(victim, images, labels, train, context) -> None:
    view = MeteredModel(victim, FEATURES)
    attack = feature_adversary.FeatureAdversary(feature_adversary.Params())
    few, true = images[:60], labels[:60]
    moved = attack.perturb(view, few, true, LINF, Aux(train=train), context())
    assert (moved - few).abs().max() <= 0.3
    assert success(victim, moved, true) > 0.85
    # inside, what is left of the distance to the guide is a small part of what it was (Sabour et al., section 3)
    guides = torch.tensor(train.x)
    other = torch.tensor(train.y)[None] == true[:, None]

    def nearest_other(x: Tensor) -> Tensor:
        apart = torch.cdist(victim.features(x), victim.features(guides))
        return apart.masked_fill(other, float("inf")).amin(dim=1)

    with torch.no_grad():
        assert float((nearest_other(moved) / nearest_other(few)).median()) < 0.4


def test_feature_adversaries_follow_guides_of_the_wanted_label(victim, images, labels, train, context) -> None:
    wanted = (labels[:60] + 3) % 10
    attack = feature_adversary.FeatureAdversary(feature_adversary.Params())
    aux = Aux(train=train, goal_labels=wanted)
    moved = attack.perturb(MeteredModel(victim, FEATURES), images[:60], labels[:60], TO_LABELS, aux, context())
    assert reached(victim, moved, wanted) > 0.6


@pytest.mark.parametrize("budget", [1, 3, 10, 50])
def test_query_budgets_are_kept(victim, images, labels, train, context, budget) -> None:
    few, true = images[:40], labels[:40]
    aux = Aux(train=train, goal_labels=(true + 1) % 10)
    for attack, goal in (
        (uap.UniversalPerturbation(uap.Params()), Goal.EVASION),
        (targeted_uap.TargetedUniversalPerturbation(targeted_uap.Params()), Goal.TARGETED),
        (feature_adversary.FeatureAdversary(feature_adversary.Params()), Goal.EVASION),
    ):
        view = MeteredModel(victim, FEATURES, query_rows=budget * len(few))
        threat = ThreatModel(goal=goal, norm=Norm.LINF, epsilon=0.2, query_budget=budget)
        attack.perturb(view, few, true, threat, aux, context())
        if budget == 50:
            assert view.meter.forward + view.meter.gradient > 20 * len(few)
