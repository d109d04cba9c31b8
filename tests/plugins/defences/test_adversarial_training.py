"""Adversarial training changes the adversary of a recipe, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparring.threat import Norm
from sparring.training import InnerAdversary, Recipe
from sparring_defences.adversarial_training import AdversarialTraining, Params

RECIPE = Recipe(epochs=3, learning_rate=0.05)


@pytest.mark.parametrize(
    ("params", "adversary"),
    [
        (
            Params(method="fgsm", epsilon=0.25),
            InnerAdversary(epsilon=0.25, steps=1, random_start=False, clean_weight=0.5),
        ),
        (
            Params(norm=Norm.L2, epsilon=0.5, steps=10),
            InnerAdversary(norm=Norm.L2, epsilon=0.5, steps=10, random_start=True, clean_weight=0.0),
        ),
        (
            Params(clean_weight=0.0, method="fgsm"),
            InnerAdversary(epsilon=0.1, steps=1, random_start=False, clean_weight=0.0),
        ),
        (Params(clean_weight=0.3), InnerAdversary(epsilon=0.1, steps=7, random_start=True, clean_weight=0.3)),
    ],
)
def test_recipes_of_the_two_papers(params: Params, adversary: InnerAdversary) -> None:
    reinforced = AdversarialTraining(params).reinforce(RECIPE)
    assert reinforced.adversary == adversary
    assert replace(reinforced, adversary=None) == RECIPE
