"""ZO-signSGD: steps against the sign of a gradient that random directions estimate."""

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
    estimator: str = param(
        "forward",
        "forward differences (ZO-signSGD), a majority vote over their signs (ZO-M-signSGD), or central differences at "
        "two queries per direction (ZO-D-signSGD)",
        choices=("forward", "majority-vote", "central"),
    )
    directions: int = param(25, "random directions of one estimate", at_least=1)
    smoothing: float = param(0.5, "how far a query lies from the image, in L2", above=0, unit="[0, 1] pixels")
    step_size: float | None = param(
        None, "how far a step moves each value; null: epsilon / 8", above=0, unit="[0, 1] pixels"
    )


class ZeroOrderSignSGD:
    """Signed steps, projected onto the ball; directions are uniform on the sphere (Liu et al. 2019, algorithm 1 and
    equations 3, 11 and 12). Only the sign of an estimate is followed, in L2 too.

    The loss is the margin, bounded by the ball instead of a penalty on the distortion. Queried images are clipped to
    [0, 1].
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from sparring_attacks.estimated_descent import Descent, descend, length_of_signs, signed
        from sparring_attacks.gradient_estimators import central, forward, on_sphere, signs_of_each

        stated, params = threat.over(SPEC.threat), self.params

        def estimate(ask: Ask, x: Tensor, losses: Tensor) -> Tensor:
            ways = on_sphere(x, params.directions, params.smoothing, ctx.generator)
            if params.estimator == "central":
                return central(ask, x, ways)
            return (forward if params.estimator == "forward" else signs_of_each)(ask, x, losses, ways)

        price = params.directions * (2 if params.estimator == "central" else 1)
        step = signed(params.step_size or length_of_signs(stated, x) / 8)
        return descend(Descent(estimate, price, step), model, x, y, stated, aux, ctx)


SPEC = AttackSpec(
    name="zo-signsgd",
    summary="Signed steps along gradients that differences along random directions estimate.",
    citation="Liu, Chen, Chen, Hong 2019, signSGD via zeroth-order oracle, algorithm 1; ICLR 2019",
    params=Params,
    load=ZeroOrderSignSGD,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1, query_budget=2000),
    needs=frozenset({Access.SCORES}),
)
