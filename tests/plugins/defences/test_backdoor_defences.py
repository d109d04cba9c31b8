"""STRIP, fine-pruning and DeepCloak on a backdoored network of digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy, mannwhitneyu
from torch import Tensor

from sparring.contracts import Aux, Context
from sparring.data import ArrayDataset
from sparring.model import Model
from sparring.threat import ThreatModel
from sparring_attacks.badnets import BadNets
from sparring_attacks.badnets import Params as BadNetsParams
from sparring_defences import deepcloak, feature_squeezing_detector, fine_pruning, strip
from sparring_victims.cnn import Cnn
from sparring_victims.cnn import Params as CnnParams

TARGET = 3
VICTIM = Cnn(CnnParams(epochs=20, channels=(8, 16), fc=32))


@dataclass(frozen=True)
class Scene:
    state: dict
    clean: ArrayDataset
    x: Tensor
    y: Tensor
    triggered: Tensor

    def model(self) -> Model:
        """A copy of its own: repairs change what they are given."""
        return VICTIM.restore(self.state, Context(seed=0, device="cpu", scratch=Path()))

    def accuracy(self, model: Model) -> float:
        return float((model.predict(self.x) == self.y).float().mean())

    def success(self, model: Model) -> float:
        return float((model.predict(self.triggered) == TARGET).float().mean())


@pytest.fixture(scope="module")
def scene(digits: ArrayDataset) -> Scene:
    ctx = Context(seed=0, device="cpu", scratch=Path())
    order = np.random.default_rng(0).permutation(len(digits))
    train, test, clean = (digits.rows(rows) for rows in np.split(order, [1200, 1500]))
    attack = BadNets(BadNetsParams(target=TARGET, size=2))
    (delta,) = attack.poison(train, ThreatModel(poison_fraction=0.1), None, Aux(), ctx)
    model = VICTIM.fit(train.with_delta(delta), VICTIM.recipe(), ctx)
    others = test.rows(test.y != TARGET)
    triggered = torch.from_numpy(attack.trigger(others.x, others.y, delta.state, ctx))
    x, y = torch.from_numpy(test.x.copy()), torch.from_numpy(test.y.copy())
    found = Scene(dict(model.state()), clean, x, y, triggered)
    assert found.success(model) > 0.85
    return found


def auc(suspect: Tensor, clean: Tensor) -> float:
    return float(mannwhitneyu(suspect.numpy(), clean.numpy()).statistic / (len(suspect) * len(clean)))


def test_strip_tells_triggered_images_from_clean_ones(scene: Scene, context) -> None:
    model, defence = scene.model(), strip.Strip(strip.Params())
    state = defence.calibrate(model, scene.clean, context())
    assert state["overlays"].shape == (32, 1, 8, 8)
    clean, triggered = (defence.score(model, x, state, context()) for x in (scene.x, scene.triggered))
    assert auc(triggered, clean) > 0.8
    blended = (scene.x[:1] + torch.tensor(state["overlays"])).clamp(0, 1)
    by_hand = entropy(model.probabilities(blended).numpy(), base=2, axis=1).mean()
    assert float(clean[0]) == pytest.approx(-by_hand, abs=1e-4), "entropy over classes, mean over overlays"


def test_squeezing_scores_the_distance_of_predictions(scene: Scene, context) -> None:
    """Xu et al. 2018, section V: L1, the largest over the squeezers."""
    model, params = scene.model(), feature_squeezing_detector.Params(bit_depth=2)
    detector = feature_squeezing_detector.FeatureSqueezingDetector(params)
    score = detector.score(model, scene.x, {}, context())
    assert ((score >= 0) & (score <= 2 + 1e-5)).all()
    rounded = (scene.x * 3).round() / 3
    one = (model.probabilities(scene.x) - model.probabilities(rounded)).abs().sum(dim=1)
    assert (score >= one - 1e-5).all()


def test_fine_pruning_cuts_channels_for_good(scene: Scene, context) -> None:
    model = scene.model()
    before = scene.accuracy(model)
    mended = fine_pruning.FinePruning(fine_pruning.Params()).repair(scene.model(), scene.clean, None, context())
    convolutions = [m for m in mended.weights().modules() if isinstance(m, torch.nn.Conv2d)]
    silent = (convolutions[-1].weight.flatten(1) == 0).all(dim=1) & (convolutions[-1].bias == 0)
    assert 0 < silent.sum() < len(silent), "they stay out while the rest is trained"
    assert scene.accuracy(mended) > before - 0.05
    assert scene.success(mended) < scene.success(model)


def test_deepcloak_masks_the_features_that_attacks_move_most(scene: Scene, context) -> None:
    """Measured: 5 % of an mlp's features, accuracy 0.96 before and after, under PGD 0.14 and 0.21; three of this
    network's 32 features cost 21 points of accuracy."""
    model, defence = scene.model(), deepcloak.DeepCloak(deepcloak.Params(masked=0.1, epsilon=0.2))
    x, y = torch.from_numpy(scene.clean.x.copy()), torch.from_numpy(scene.clean.y.copy())
    attacked = (x + 0.2 * model.gradient(x, y).sign()).clamp(0, 1)
    moved = (model.features(attacked) - model.features(x)).abs().sum(dim=0)
    cloaked = defence.repair(scene.model(), scene.clean, None, context())
    gone = (cloaked.weights().head.weight == 0).all(dim=0)
    assert gone.sum() == 3
    assert moved[gone].min() >= moved[~gone].max()
