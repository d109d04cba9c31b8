"""Fast adversarial training: one long step from a random start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    epsilon: float = param(0.1, "L-infinity budget trained against", above=0, unit="[0, 1] pixels")
    step: float = param(1.25, "length of the one step, as a multiple of epsilon", above=0)


class FastAdversarialTraining:
    """FGSM from a random start, with a step of 1.25 epsilon, projected back (Wong et al. 2020, algorithm 3). The
    victim's schedule stays as it is; the paper's cyclic one is `schedule=one-cycle` of the victim."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def reinforce(self, recipe: Recipe) -> Recipe:
        from sparring.training import InnerAdversary

        epsilon = self.params.epsilon
        adversary = InnerAdversary(
            epsilon=epsilon, steps=1, step_size=self.params.step * epsilon, random_start=True, clean_weight=0.0
        )
        return replace(recipe, adversary=adversary)


SPEC = DefenceSpec(
    name="fast-adversarial-training",
    summary="Trains on images moved by one long gradient step from a random start.",
    citation="Wong, Rice, Kolter 2020, Fast is better than free, algorithm 3; arXiv 2001.03994",
    params=Params,
    randomised=False,
    load=FastAdversarialTraining,
    acts=frozenset({Act.REINFORCE}),
    needs=frozenset({Access.RECIPE}),
)
