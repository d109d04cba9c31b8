"""NES: natural evolution strategies estimate the gradient that PGD would follow."""

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
    directions: int = param(
        25, "normal directions of one estimate, each of which is gone both ways, at two queries", at_least=1
    )
    deviation: float = param(0.1, "standard deviation of the directions", above=0, unit="[0, 1] pixels")
    step_size: float | None = param(
        None, "length of one step (of its L2 norm in L2); null: epsilon / 4", above=0, unit="[0, 1] pixels"
    )
    momentum: float = param(0.5, "how much of the last estimate is kept", at_least=0, below=1)


class NaturalEvolutionStrategies:
    """Steps against the sign (L2: direction) of an antithetic Gaussian estimate of the gradient, projected onto the
    ball (Ilyas et al. 2018, section 3.1 and algorithm 1), with the momentum of the authors' code.

    The loss is the margin and not the cross-entropy, so that scores are enough; queried images are clipped to [0, 1].
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from sparring_attacks.estimated_descent import Descent, descend, steepest, with_momentum
        from sparring_attacks.gradient_estimators import central, gaussian

        stated = threat.over(SPEC.threat)
        norm, epsilon = stated.norm or Norm.LINF, stated.epsilon or 0.0

        def estimate(ask: Ask, x: Tensor, losses: Tensor) -> Tensor:
            return central(ask, x, gaussian(x, self.params.directions, self.params.deviation, ctx.generator))

        step = steepest(norm, self.params.step_size or epsilon / 4)
        descent = Descent(estimate, 2 * self.params.directions, with_momentum(self.params.momentum, step, x))
        return descend(descent, model, x, y, stated, aux, ctx)


SPEC = AttackSpec(
    name="nes",
    summary="Projected steps along gradients that antithetic Gaussian queries estimate.",
    citation="Ilyas, Engstrom, Athalye, Lin 2018, Black-box adversarial attacks with limited queries and information, "
    "section 3.1; arXiv 1804.08598",
    params=Params,
    load=NaturalEvolutionStrategies,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1, query_budget=2000),
    needs=frozenset({Access.SCORES}),
)
