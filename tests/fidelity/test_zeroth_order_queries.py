"""AutoZOOM's claim on a small network for real MNIST: a fraction of ZOO's queries.

`SPARRING_DATA` names the folder with the data.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import sparring_datasets
import sparring_victims
from sparring.contracts import Aux, Context
from sparring.model import MeteredModel
from sparring.threat import Goal, ThreatModel
from sparring_attacks import autozoom, zoo

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(600),
]


def test_autozoom_needs_a_fraction_of_the_queries_of_zoo(tmp_path: Path) -> None:
    """Tu et al. 2019, table 2: about 7 % of ZOO's queries to the first success. At most 30 % here, with as many images
    reached; images that ZOO has not reached within its budget count as if it had, at its end."""
    ctx = Context(seed=0, device="cpu", scratch=tmp_path)
    mnist = next(spec for spec in sparring_datasets.sparring_datasets() if spec.name == "mnist")
    cnn = next(spec for spec in sparring_victims.sparring_victims() if spec.name == "cnn")
    train, test = mnist.load(mnist.params(limit_train=5000, limit_test=500)).load(ctx)
    victim = cnn.load(cnn.params(channels=(8, 16), epochs=3, batch_size=64, learning_rate=2e-3))
    model = victim.fit(train, victim.recipe(), ctx)
    images, labels = torch.tensor(test.x), torch.tensor(test.y)
    right = (model.predict(images) == labels).nonzero()[:8, 0]
    x, y = images[right], labels[right]

    def first_successes(spec, params, budget: int) -> tuple[float, float]:
        """(mean queries to the first success, share of images that are reached)."""
        own = Context(seed=0, device="cpu", scratch=tmp_path)
        attack = spec.load(spec.params(**params))
        threat = ThreatModel(goal=Goal.EVASION, query_budget=budget)
        x_adv = attack.perturb(MeteredModel(model, spec.needs), x, y, threat, Aux(train=train), own)
        total, before = 0.0, 0.0
        for queries, share in own.curves["success"]:
            total, before = total + queries * (share - before), share
        return total + budget * (1 - before), float((model.predict(x_adv) != y).float().mean())

    queries, reached = first_successes(zoo.SPEC, {}, 24_000)
    assert reached > 0.5
    for space in ("bilinear", "autoencoder"):
        fewer, as_many = first_successes(autozoom.SPEC, {"space": space}, 3000)
        assert as_many >= reached
        assert fewer <= 0.3 * queries
