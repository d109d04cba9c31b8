"""AutoZOOM's claim on a small network for real MNIST: fewer queries than ZOO's for as little distortion.

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
from sparring.plugin import AttackSpec
from sparring.threat import Goal, ThreatModel
from sparring_attacks import autozoom, zoo

pytestmark = [
    pytest.mark.fidelity,
    pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA does not name a folder with MNIST"),
    pytest.mark.timeout(600),
]


def test_autozoom_needs_three_tenths_of_the_queries_of_zoo_for_no_more_distortion(tmp_path: Path) -> None:
    """Tu et al. 2019 report at least 93 % fewer queries than ZOO's. ZOO gets the best of four learning rates here, for
    each measure by itself; AutoZOOM keeps its defaults.

    At 30 % of ZOO's queries all images are reached, at no larger a mean L2 distance than ZOO's nearest. The first
    success is another matter: ZOO's fastest rate needs 361 queries for it on average, at more than twice the distance
    in the end, and AutoZOOM about 170. That is half, and no more is claimed.
    """
    torch.set_num_threads(1)
    ctx = Context(seed=0, device="cpu", scratch=tmp_path)
    mnist = next(spec for spec in sparring_datasets.sparring_datasets() if spec.name == "mnist")
    cnn = next(spec for spec in sparring_victims.sparring_victims() if spec.name == "cnn")
    train, test = mnist.load(mnist.params(limit_train=5000, limit_test=500)).load(ctx)
    victim = cnn.load(cnn.params(channels=(4, 8), epochs=3, batch_size=64, learning_rate=2e-3))
    model = victim.fit(train, victim.recipe(), ctx)
    images, labels = torch.tensor(test.x), torch.tensor(test.y)
    right = (model.predict(images) == labels).nonzero()[:5, 0]
    x, y = images[right], labels[right]

    def attacked(spec: AttackSpec, budget: int, **params: object) -> tuple[float, float]:
        """(mean queries to the first success, mean L2 distance); an image that is not reached counts as the whole
        budget, and as infinitely far."""
        own = Context(seed=0, device="cpu", scratch=tmp_path)
        threat = ThreatModel(goal=Goal.EVASION, query_budget=budget)
        attack = spec.load(spec.params(**params))
        x_adv = attack.perturb(MeteredModel(model, spec.needs), x, y, threat, Aux(train=train), own)
        total, before = 0.0, 0.0
        for queries, share in own.curves.get("success", []):
            total, before = total + queries * (share - before), share
        distance = (x_adv - x).flatten(1).norm(dim=1).masked_fill(model.predict(x_adv) == y, float("inf"))
        return total + budget * (1 - before), float(distance.mean())

    at_zoo_rates = [attacked(zoo.SPEC, 3000, learning_rate=rate) for rate in (0.03, 0.06, 0.1, 0.3)]
    for space in ("bilinear", "autoencoder"):
        first, distance = attacked(autozoom.SPEC, 900, space=space)
        assert distance <= min(distance for _, distance in at_zoo_rates)
        assert first < 0.7 * min(first for first, _ in at_zoo_rates)
