"""Adversarial training: the recipe, with an adversary in its loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access, Norm

if TYPE_CHECKING:
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    method: str = param("pgd", "how the examples are made", choices=("fgsm", "pgd"))
    norm: Norm = param(Norm.LINF, "norm of the budget", choices=("linf", "l2"))
    epsilon: float = param(0.1, "budget trained against", at_least=0, unit="[0, 1] pixels")
    steps: int = param(7, "gradient steps of pgd; fgsm makes one", at_least=1)
    clean_weight: float | None = param(
        None, "alpha of alpha L(x) + (1 - alpha) L(x_adv); null: 0.5 for fgsm, 0 for pgd", at_least=0, at_most=1
    )


class AdversarialTraining:
    """`fgsm`: one step from the image itself, mixed loss with alpha 0.5 (Goodfellow et al. 2015, section 6).
    `pgd`: several steps from a random start, adversarial loss only (Madry et al. 2018, section 2.1, equation 2.1).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def reinforce(self, recipe: Recipe) -> Recipe:
        from sparring.training import InnerAdversary

        p, one_step = self.params, self.params.method == "fgsm"
        by_method = 0.5 if one_step else 0.0
        adversary = InnerAdversary(
            norm=p.norm,
            epsilon=p.epsilon,
            steps=1 if one_step else p.steps,
            random_start=not one_step,
            clean_weight=by_method if p.clean_weight is None else p.clean_weight,
        )
        return replace(recipe, adversary=adversary)


SPEC = DefenceSpec(
    name="adversarial-training",
    summary="Trains on adversarial examples made anew in every step.",
    citation="Goodfellow, Shlens, Szegedy 2015, section 6, arXiv 1412.6572; "
    "Madry et al. 2018, section 2.1, arXiv 1706.06083",
    params=Params,
    randomised=False,
    load=AdversarialTraining,
    acts=frozenset({Act.REINFORCE}),
    needs=frozenset({Access.RECIPE}),
)
