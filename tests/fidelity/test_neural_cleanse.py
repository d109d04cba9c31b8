"""Neural Cleanse on a small network of MNIST: the backdoored class has the smallest trigger by far, and unlearning it
leaves little of the backdoor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boards import scored
from sparring.catalogue import discover
from sparring.plan import make_plan
from sparring.suite import Evaluation, Splits, suite_from_selectors

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(600),
]


def test_a_backdoored_network_is_accused_and_repaired(tmp_path: Path) -> None:
    """Wang et al. 2019, figure 3 and table IV: infected models have an anomaly index above 2, and unlearning brings the
    success rate down to a few per cent at nearly the same accuracy. 3,500 training images, four epochs; measured for
    target 1: index 4.3, and with three epochs of unlearning success 99.9 to 25 %, accuracy 94 to 92 %."""
    catalogue = discover()
    suite = suite_from_selectors(
        catalogue,
        datasets=["mnist[limit_train=4000,limit_test=500]"],
        victims=["cnn[epochs=4,channels=[8,16],fc=32]"],
        attacks=["badnets[target=1]"],
        defences=["neural-cleanse"],
        evaluation=Evaluation(samples=200),
        splits=Splits(defender_clean=500),
    )
    (outcome,) = scored(make_plan(suite, catalogue), tmp_path).values()
    found = outcome["metrics"]
    assert found["accused"] == 1.0
    assert found["before-repair-asr"] > 0.95
    assert found["asr"] < 0.5
    assert found["clean-accuracy"] > found["before-repair-clean-accuracy"] - 0.04
