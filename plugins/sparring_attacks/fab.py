"""Fast adaptive boundary: the nearest adversarial image, by projections onto linearised decision boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks import torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.apgd import NORMS
from sparring_attacks.balls import ROUNDING
from sparring_attacks.distortion_limits import kept_within

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(100, "projections of one run", at_least=1)
    backward: float = param(
        0.9, "where a step ends that found an example, between the image (0) and it (1)", above=0, at_most=1
    )
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class FastAdaptiveBoundary:
    """Projects onto the nearest linearised boundary, biased towards the image, and steps back whenever that is
    adversarial (Croce & Hein 2020, algorithm 1). The nearest example found is the result; with an epsilon, examples
    farther away have failed, and these images are left as they are.

    A step costs two forward and K gradient evaluations per image of K classes. A query budget lowers the steps.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torchattacks

        norm, epsilon = threat.norm or Norm.LINF, float("inf") if threat.epsilon is None else threat.epsilon
        steps = affordable(self.params.steps, model.classes, threat.query_budget)
        if epsilon <= ROUNDING or steps < 1:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            return torchattacks.FAB(
                torchattacks_adapter.stoppable(module, ctx),
                norm=NORMS[norm],
                eps=epsilon,
                steps=steps,
                beta=self.params.backward,
                seed=seed,
                n_classes=model.classes,
            )

        made = torchattacks_adapter.run(build, model, x, Aim(y, targeted=False), ctx, self.params.batch_size)
        return kept_within(made, x, threat)


def affordable(steps: int, classes: int, query_budget: int | None) -> int:
    """Steps that `query_budget` evaluations per image pay for, beside three that no step is without."""
    return steps if query_budget is None else min(steps, (query_budget - 3) // (classes + 2))


SPEC = AttackSpec(
    name="fab",
    summary="The nearest adversarial image, by projections onto linearised decision boundaries.",
    citation="Croce & Hein 2020, Minimally distorted adversarial examples with a fast adaptive boundary attack, "
    "algorithm 1; arXiv 1907.02044",
    params=Params,
    load=FastAdaptiveBoundary,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"norm", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.LINF, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS}),
)
