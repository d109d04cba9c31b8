"""Neural Cleanse on a small network of MNIST: the backdoored class has the smallest trigger by far, a clean network is
not accused, and repairs leave little of the backdoor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boards import metrics, planned
from sparring.suite import Evaluation, Splits

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(600),
]


def test_a_backdoored_network_is_accused_and_repaired_and_a_clean_one_is_not(tmp_path: Path) -> None:
    """Wang et al. 2019, figure 3 and table IV."""
    plan = planned(
        datasets=["mnist[limit_train=3500,limit_test=500]"],
        victims=["cnn[epochs=6,channels=[8,16],fc=32]"],
        attacks=["badnets[target=1,fraction=0.1]", "none"],
        defences=["neural-cleanse"],
        evaluation=Evaluation(samples=200),
        splits=Splits(defender_clean=500),
    )
    found = metrics(plan, tmp_path)
    (marked,) = [scores for cell, scores in found.items() if "badnets" in cell]
    (clean,) = [scores for cell, scores in found.items() if "badnets" not in cell]
    assert marked["accused"] == 1.0
    assert clean["accused"] == 0.0
    assert marked["before-repair-asr"] > 0.95
    assert marked["asr"] < 0.2
    assert marked["clean-accuracy"] > marked["before-repair-clean-accuracy"] - 0.03
