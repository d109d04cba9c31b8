"""Gaussian noise on every training image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, NoParams
from sparring.threat import Access

if TYPE_CHECKING:
    from sparring.training import Recipe


class GaussianAugmentation:
    """The recipe's own augmentation: noise of standard deviation 0.1, anew in every step, clipped to [0, 1]
    (Zantedeschi et al. 2017, section 4.2). It takes the place of another augmentation. `trained-smoothing` has noise
    of any strength."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def reinforce(self, recipe: Recipe) -> Recipe:
        from sparring.training import Augmentation

        return replace(recipe, augmentation=Augmentation.GAUSSIAN)


SPEC = DefenceSpec(
    name="gaussian-augmentation",
    summary="Trains with Gaussian noise on the images.",
    citation="Zantedeschi, Nicolae, Rawat 2017, Efficient defenses against adversarial attacks, section 4.2; "
    "arXiv 1707.06728",
    randomised=False,
    load=GaussianAugmentation,
    acts=frozenset({Act.REINFORCE}),
    needs=frozenset({Access.RECIPE}),
)
