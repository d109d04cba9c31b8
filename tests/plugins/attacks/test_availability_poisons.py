"""Label flips and unlearnable noise: what they change, and how much accuracy they cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparring.contracts import Aux
from sparring.data import ArrayDataset, distortion
from sparring.model import Model
from sparring.threat import ThreatModel
from sparring_attacks import label_flip
from sparring_attacks.label_flip_loss import Label, LabelFlipLoss
from sparring_attacks.label_flip_loss import Params as LossParams
from sparring_attacks.label_flip_targeted import LabelFlipTargeted
from sparring_attacks.label_flip_targeted import Params as TargetedParams
from sparring_attacks.unlearnable import Noise, Unlearnable
from sparring_attacks.unlearnable import Params as UnlearnableParams
from sparring_victims.logistic import Logistic
from sparring_victims.logistic import Params as LogisticParams
from sparring_victims.mlp import Mlp
from sparring_victims.mlp import Params as MlpParams


@pytest.fixture(scope="module")
def train(digits: ArrayDataset) -> ArrayDataset:
    return digits.rows(range(1437))


@pytest.fixture(scope="module")
def held(digits: ArrayDataset) -> ArrayDataset:
    return digits.rows(range(1437, 1797))


def answers(model: Model, data: ArrayDataset) -> np.ndarray[Any, Any]:
    return model.predict(torch.from_numpy(np.array(data.x))).numpy()


def fitted(victim: Any, train: ArrayDataset, context: Any) -> Model:
    model: Model = victim.fit(train, victim.recipe(), context(11))
    return model


def test_targeted_flips_change_the_named_labels_only_and_cost_that_class(context, train, held) -> None:
    attack = LabelFlipTargeted(TargetedParams(source=(1, 4), target=(7, 9)))
    (poison,) = attack.poison(train, ThreatModel(poison_fraction=0.15), None, Aux(), context(1))
    before = train.rows(poison.rows)
    assert len(poison.rows) == int(0.15 * len(train))
    assert set(zip(before.y.tolist(), poison.y.tolist(), strict=True)) == {(1, 7), (4, 9)}
    assert (poison.x == before.x).all()
    victim, flipped = Mlp(MlpParams(epochs=20)), np.isin(held.y, (1, 4))
    given = answers(fitted(victim, train.with_delta(poison), context), held)
    twin = answers(fitted(victim, train, context), held)
    assert (given == np.where(held.y == 1, 7, 9))[flipped].mean() > 0.6
    assert (twin == held.y)[flipped].mean() > 0.8
    # no label of the others was touched; 0.04 is about two standard errors on their 287 images
    assert (given == held.y)[~flipped].mean() > (twin == held.y)[~flipped].mean() - 0.04


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"source": (1,), "target": (1,)}, "stays what it is"),
        ({"source": (1, 2), "target": (3,)}, "2 sources and 1 targets"),
        ({"source": (1, 1), "target": (2, 3)}, "named twice"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(params, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        TargetedParams(**params)


def test_flips_by_loss_raise_the_surrogates_loss_most_and_cost_more_than_random_ones(context, train, held) -> None:
    victim = Logistic(LogisticParams(epochs=30))
    clean = fitted(victim, train, context)
    threat = ThreatModel(poison_fraction=0.3)
    aux = Aux(surrogates={"surrogate": clean})
    (chosen,) = LabelFlipLoss(LossParams()).poison(train, threat, None, aux, context(1))
    (second,) = LabelFlipLoss(LossParams(label=Label.SECOND)).poison(train, threat, None, aux, context(1))
    (drawn,) = label_flip.LabelFlip(label_flip.SPEC.params()).poison(train, threat, None, Aux(), context(1))

    def loss(labels: ArrayDataset) -> float:
        shown = clean.logits(torch.from_numpy(np.array(labels.x)))
        return float(torch.nn.functional.cross_entropy(shown, torch.from_numpy(np.array(labels.y))))

    def right(poison: Any) -> float:
        return float((answers(fitted(victim, train.with_delta(poison), context), held) == held.y).mean())

    assert loss(train.with_delta(chosen)) > 1.3 * loss(train.with_delta(drawn))
    assert loss(train.with_delta(chosen)) > loss(train.with_delta(second)) > loss(train)
    assert right(chosen) < right(drawn) - 0.15


@pytest.mark.parametrize("noise", Noise)
def test_unlearnable_images_are_fitted_and_teach_little(context, train, held, noise) -> None:
    """Huang et al. 2021, table 1: training accuracy stays, clean test accuracy falls."""
    attack = Unlearnable(UnlearnableParams(noise=noise))
    threat = ThreatModel(epsilon=0.3, poison_fraction=1.0)
    (poison,) = attack.poison(train, threat, None, Aux(), context(1))
    assert (poison.y == train.y).all()
    assert distortion(train.x, poison.x).linf.max() <= 0.3
    victim, noisy = Mlp(MlpParams(epochs=10)), train.with_delta(poison)
    model = fitted(victim, noisy, context)
    assert (answers(model, noisy) == noisy.y).mean() > 0.97
    drop = (answers(fitted(victim, train, context), held) == held.y).mean() - (answers(model, held) == held.y).mean()
    assert drop > 0.1


def test_class_wise_noise_is_one_for_a_class(context, train) -> None:
    attack = Unlearnable(UnlearnableParams(noise=Noise.CLASS, rounds=1))
    (poison,) = attack.poison(train, ThreatModel(epsilon=0.05, poison_fraction=0.5), None, Aux(), context(1))
    inside = (train.rows(poison.rows).x > 0.06) & (train.rows(poison.rows).x < 0.94)  # where nothing is clipped
    moved = np.where(inside, poison.x - train.rows(poison.rows).x, np.nan)
    for label in range(10):
        of_class = moved[poison.y == label]
        shown = ~np.isnan(of_class).all(axis=0)
        spread = np.nanmax(of_class[:, shown], axis=0) - np.nanmin(of_class[:, shown], axis=0)
        assert spread.size
        assert spread.max() < 1e-6
