"""Searched single pixels against drawn ones, on MNIST at reduced size, judged on held-out training images.

Full sizes are boards. `SPARRING_DATA` names the folder with the data.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.contracts import Aux, Context, PoisonAttack
from sparring.data import ArrayDataset
from sparring.subset import SubsetParams
from sparring.threat import ThreatModel
from sparring.training import Schedule
from sparring_attacks.random_pixel import Params as RandomParams
from sparring_attacks.random_pixel import RandomPixel
from sparring_attacks.single_pixel import Params, SinglePixel
from sparring_datasets.mnist import Mnist
from sparring_victims.cnn import Cnn, PoolAfter
from sparring_victims.cnn import Params as VictimParams

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(900),
]

FIT, HELD = 10_000, 5_000
SEARCH = Params(generations=16, scouts=6, networks=1, rows=2_000, network_rows=4_000, finalists=2, final_rows=4_000)
VICTIM = VictimParams(
    channels=(8, 16),
    batch_norm=True,
    pool_after=PoolAfter.LAST,
    learning_rate=1e-3,
    batch_size=128,
    schedule=Schedule.CONSTANT,
    epochs=4,
)


def test_searched_pixels_fool_more_than_drawn_ones(tmp_path: Path) -> None:
    """Chaudhury 2020, table 1: the proposed marks are worse for the victim than random ones, which already hurt."""

    def context(seed: int) -> Context:
        return Context(seed=seed, device="cpu", scratch=tmp_path)

    images, _ = Mnist(SubsetParams()).load(context(0))
    train, held = images.rows(np.arange(FIT)), images.rows(np.arange(len(images) - HELD, len(images)))

    def errors(attack: PoisonAttack, seed: int) -> tuple[float, float]:
        """On the marked training images, and on held-out clean ones."""
        (poison,) = attack.poison(train, ThreatModel(), None, Aux(), context(seed))
        marked, victim = train.with_delta(poison), Cnn(VICTIM)
        model = victim.fit(marked, victim.recipe(), context(7))

        def error(data: ArrayDataset) -> float:
            answers = model.predict(torch.from_numpy(np.array(data.x))).numpy()
            return float((answers != data.y).mean())

        return error(marked), error(held)

    fitted, proposed = errors(SinglePixel(SEARCH), 1)
    drawn = [errors(RandomPixel(RandomParams()), seed)[1] for seed in (1, 2)]
    print(f"held-out error: proposed {proposed:.3f}, random {drawn}; training error {fitted:.4f}")
    assert fitted <= 0.005
    assert min(drawn) > 0.1
    assert proposed > np.mean(drawn) + 0.1
