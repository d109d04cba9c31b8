"""ZO-ADAM and ZO-AdaMM: adaptive momentum on gradients that random directions estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel
    from sparring_attacks.gradient_estimators import Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    variant: str = param(
        "adamm",
        "divide by the largest second moment so far (adamm), or by the present one, corrected for bias (adam)",
        choices=("adamm", "adam"),
    )
    directions: int = param(25, "random directions of one estimate, at one query each", at_least=1)
    smoothing: float = param(0.5, "how far a query lies from the image, in L2", above=0, unit="[0, 1] pixels")
    learning_rate: float | None = param(
        None, "about how far a step moves each value; null: epsilon / 8", above=0, unit="[0, 1] pixels"
    )
    first_decay: float = param(0.9, "of the running mean of gradients", at_least=0, below=1)
    second_decay: float = param(0.9, "of the running mean of their squares", at_least=0, below=1)


class ZeroOrderAdaptiveMomentum:
    """Steps of AMSGrad or ADAM along forward differences in directions uniform on the sphere, projected onto the ball
    (Chen et al. 2019, algorithm 1 and section 3).

    In L-infinity with the box, their projection in the Mahalanobis norm separates by coordinates, and is the clipping
    that is done here; in L2 the nearest point of the ball takes its place. The loss is the margin. Queried images are
    clipped to [0, 1].
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        from sparring_attacks.coordinate_adam import AdamRates, CoordinateAdam
        from sparring_attacks.estimated_descent import Descent, descend, length_of_signs
        from sparring_attacks.gradient_estimators import forward, on_sphere

        stated, params = threat.over(SPEC.threat), self.params
        rate = params.learning_rate or length_of_signs(stated, x) / 8
        rates = AdamRates(rate, params.first_decay, params.second_decay, monotone=params.variant == "adamm")
        adam = CoordinateAdam(x.flatten(1), rates)
        everywhere = torch.arange(x.flatten(1).shape[1], device=x.device)[None]

        def estimate(ask: Ask, x: Tensor, losses: Tensor) -> Tensor:
            return forward(ask, x, losses, on_sphere(x, params.directions, params.smoothing, ctx.generator))

        def step(rows: Tensor, gradient: Tensor) -> Tensor:
            return adam.step(rows, everywhere, gradient.flatten(1)).view_as(gradient)

        return descend(Descent(estimate, params.directions, step), model, x, y, stated, aux, ctx)


SPEC = AttackSpec(
    name="zo-adam",
    summary="ADAM and AdaMM steps along gradients that differences along random directions estimate.",
    citation="Chen, Liu, Xu, Li, Lin, Hong, Cox 2019, ZO-AdaMM: zeroth-order adaptive momentum method for black-box "
    "optimization; arXiv 1910.06513",
    params=Params,
    load=ZeroOrderAdaptiveMomentum,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1, query_budget=2000),
    needs=frozenset({Access.SCORES}),
)
