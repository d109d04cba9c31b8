"""The elastic-net attack: the smallest mixture of L1 and L2 distortion, by iterative shrinkage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks import torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING
from sparring_attacks.distortion_limits import kept_within

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

FEWEST_STEPS = 10
"""With fewer, torchattacks divides by zero (eaden.py and eadl1.py: `iteration % (self.max_iterations // 10)`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    decision: str = param(
        "elastic-net",
        "which example is kept: that of the least β L1 + L2², or of the least L1",
        choices=("elastic-net", "l1"),
    )
    beta: float = param(0.01, "weight β of the L1 distortion", at_least=0)
    steps: int = param(100, "steps of each search", at_least=FEWEST_STEPS)
    searches: int = param(9, "bisections of the weight of the misclassification", at_least=1, at_most=9)
    learning_rate: float = param(0.01, "length of the first step", above=0)
    first_weight: float = param(0.001, "weight of the misclassification in the first search", above=0)
    abort_early: bool = param(True, "end a search when the loss, summed over the batch, no longer falls")
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class ElasticNet:
    """Minimises c f(x) + β ‖x - x₀‖₁ + ‖x - x₀‖₂² by fast iterative shrinkage, with a bisection over c (Chen et al.
    2018, equation 7 and algorithm 1). The least distorted example is the result; it is measured in L2. Images for
    which none was found are left as they are.

    A step costs two forward and one gradient evaluation per image; where searches are ended early, about a fifth of the
    steps are taken. A query budget lowers the steps, down to `FEWEST_STEPS`, then the searches.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torchattacks

        searches, steps = affordable(self.params.searches, self.params.steps, threat.query_budget)
        if searches == 0 or (threat.epsilon is not None and threat.epsilon <= ROUNDING):
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            attack = torchattacks.EADL1 if self.params.decision == "l1" else torchattacks.EADEN
            return attack(
                torchattacks_adapter.above_zero(torchattacks_adapter.stoppable(module, ctx)),
                lr=self.params.learning_rate,
                binary_search_steps=searches,
                max_iterations=steps,
                initial_const=self.params.first_weight,
                beta=self.params.beta,
                abort_early=self.params.abort_early,
            )

        made = torchattacks_adapter.run(build, model, x, Aim.of(threat, y, aux), ctx, self.params.batch_size)
        # its shrinkage step bounds y, but not the extrapolation from two of them that it may return as the best
        return kept_within(made.clamp(0, 1), x, threat)


def affordable(searches: int, steps: int, query_budget: int | None) -> tuple[int, int]:
    """(searches, steps) that `query_budget` evaluations per image pay for; no search where it does not pay for one."""
    if query_budget is None or query_budget >= 1 + 3 * searches * steps:
        return searches, steps
    searches = min(searches, (query_budget - 1) // (3 * FEWEST_STEPS))
    return searches, min(steps, (query_budget - 1) // (3 * searches)) if searches else steps


SPEC = AttackSpec(
    name="ead",
    summary="The smallest mixture of L1 and L2 distortion that changes the answer: the elastic-net attack.",
    citation="Chen et al. 2018, EAD: elastic-net attacks to deep neural networks via adversarial examples, "
    "algorithm 1; arXiv 1709.04114",
    params=Params,
    load=ElasticNet,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS}),
)
