"""The adapters carry attacks beyond those that this package wraps: scores only, decisions only, own seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sparring.model import MeteredModel
from sparring.threat import Access
from sparring_attacks import art_adapter, torchattacks_adapter
from sparring_attacks.aim import Aim

EPSILON = 0.25


def fooled(model: object, x_adv: Tensor, labels: Tensor) -> float:
    return float((model.predict(x_adv) != labels).float().mean())


@pytest.mark.parametrize(
    ("name", "needs", "settings"),
    [
        ("APGD", Access.GRADIENTS, {"steps": 5}),
        ("Square", Access.SCORES, {"n_queries": 60}),
        ("MIFGSM", Access.GRADIENTS, {"steps": 5, "alpha": 0.1}),
    ],
)
def test_torchattacks_with_and_without_gradients(victim, images, labels, context, name, needs, settings) -> None:
    import torchattacks

    def build(module: torch.nn.Module, seed: int) -> object:
        seeded = {} if name == "MIFGSM" else {"seed": seed, "norm": "Linf"}
        return getattr(torchattacks, name)(module, eps=EPSILON, **settings, **seeded)

    few, true = images[:40], labels[:40]
    view = MeteredModel(victim, frozenset({needs}))
    generators = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    runs = [torchattacks_adapter.run(build, view, few, Aim(true, False), context(4), 16) for _ in range(2)]
    assert torch.equal(runs[0], runs[1])
    assert not runs[0].requires_grad
    assert fooled(victim, runs[0], true) > fooled(victim, few, true) + 0.2
    assert (view.meter.gradient > 0) == (needs is Access.GRADIENTS)
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.random.get_state()[1].tolist() == generators[1]  # noqa: NPY002


@pytest.mark.parametrize("needs", [Access.PROBABILITIES, Access.DECISIONS])
def test_art_without_gradients(victim, images, labels, context, needs) -> None:
    from art.attacks.evasion import HopSkipJump, SimBA

    def build(estimator: object, size: int) -> object:
        if needs is Access.PROBABILITIES:
            return SimBA(estimator, attack="px", max_iter=150, epsilon=0.25, batch_size=1, verbose=False)
        return HopSkipJump(estimator, size, max_iter=2, max_eval=50, init_eval=10, init_size=20, verbose=False)

    few, true = images[:3], labels[:3]
    view = MeteredModel(victim, frozenset({needs}))
    x_adv = art_adapter.run(build, art_adapter.classifier(view, few), few, Aim(true, False), context(4), 8)
    assert fooled(victim, few, true) == 0
    assert fooled(victim, x_adv, true) > 0.5
    assert view.meter.forward > 0
    assert view.meter.gradient == 0
