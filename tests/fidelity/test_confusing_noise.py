"""DeepConfuse on MNIST at reduced size, judged on held-out training images.

Full sizes are boards. `SPARRING_DATA` names the folder with the data.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.contracts import Aux, Context
from sparring.data import ArrayDataset
from sparring.subset import SubsetParams
from sparring.threat import ThreatModel
from sparring.training import Schedule
from sparring_attacks.confuse_settings import Variant
from sparring_attacks.deep_confuse import DeepConfuse, Params
from sparring_datasets.mnist import Mnist
from sparring_victims.cnn import Cnn
from sparring_victims.cnn import Params as VictimParams

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(900),
]

FIT, HELD = 6_000, 2_000
EPSILON = 0.3
SHORT = Params(variant=Variant.LABEL_SPECIFIC, warm_up=150, trials=1, pool=1024)
VICTIM = VictimParams(channels=(20, 50), fc=200, learning_rate=1e-3, schedule=Schedule.CONSTANT, epochs=3)


def test_victims_of_the_noise_learn_it_instead_of_the_digits(tmp_path: Path) -> None:
    """Feng, Cai, Zhou 2019, tables 1 and 2 and section 5.3: victims fit the noise, fail on clean images far below what
    uniform noise of the same size does to them, and mistake them for the class that was asked for."""

    def context(seed: int) -> Context:
        return Context(seed=seed, device="cpu", scratch=tmp_path)

    images, _ = Mnist(SubsetParams()).load(context(0))
    train, held = images.rows(np.arange(FIT)), images.rows(np.arange(len(images) - HELD, len(images)))

    def answers(data: ArrayDataset, x: np.ndarray) -> np.ndarray:
        victim = Cnn(VICTIM)
        model = victim.fit(data, victim.recipe(), context(7))
        return np.concatenate([model.predict(torch.from_numpy(part)) for part in np.split(x, 10)])

    attack = DeepConfuse(SHORT)
    (poison,) = attack.poison(train, ThreatModel(epsilon=EPSILON), None, Aux(), context(1))
    noise = np.random.default_rng(2).uniform(-EPSILON, EPSILON, train.x.shape)
    uniform = ArrayDataset(np.clip(train.x + noise, 0, 1).astype(np.float32), train.y, train.class_names)
    poisoned_x, _ = attack.probes(held.x, held.y, poison.state, context(3))["poisoned"]

    guesses = answers(train.with_delta(poison), np.concatenate([held.x, poisoned_x]))
    clean, on_noise = np.split(guesses, 2)
    right, shifted = np.mean(clean == held.y), np.mean(clean == (held.y + 1) % 10)
    after_uniform = np.mean(answers(uniform, held.x) == held.y)
    print(f"right {right:.3f}, shifted {shifted:.3f}, poisoned {np.mean(on_noise == held.y):.3f}, {after_uniform:.3f}")
    assert np.mean(on_noise == held.y) >= 0.9, "the victim did not learn the noise"
    assert after_uniform >= 0.9
    assert right <= 0.4, "the victim still knows the digits"
    assert shifted >= 0.3
