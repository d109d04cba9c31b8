"""The fast gradient method in L2: one step of the whole budget along the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import art_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class FastGradientMethodL2:
    """x + ε ∇L / ‖∇L‖₂ (Miyato et al. 2017, equation 6), by ART: torchattacks has none. `fgsm[norm=l2]` takes the
    same step as the first of torchattacks' PGD.

    One forward and one gradient evaluation per image. A query budget below 2 leaves the images as they are.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from art.attacks.evasion import FastGradientMethod

        epsilon = threat.epsilon or 0.0
        if epsilon <= ROUNDING or (threat.query_budget is not None and threat.query_budget < 2):
            return x.clone()
        aim = Aim.of(threat, y, aux)

        def build(estimator: Any, size: int) -> Any:
            return FastGradientMethod(
                estimator, norm=2, eps=epsilon, eps_step=epsilon, targeted=aim.targeted, batch_size=size
            )

        estimator = art_adapter.gradients_only(model, x)
        return project(art_adapter.run(build, estimator, x, aim, ctx, self.params.batch_size), x, Norm.L2, epsilon)


SPEC = AttackSpec(
    name="fgm-l2",
    summary="One step of the whole budget along the gradient, in L2.",
    citation="Miyato, Dai, Goodfellow 2017, Adversarial training methods for semi-supervised text classification, "
    "equation 6; arXiv 1605.07725",
    params=Params,
    load=FastGradientMethodL2,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, epsilon=1.0),
    needs=frozenset({Access.GRADIENTS}),
)
