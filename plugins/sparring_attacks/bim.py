"""The basic iterative method: the fast gradient sign method in small steps, from the image itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(10, "gradient steps", at_least=1)
    step_size: float | None = param(None, "length of one step; null: epsilon / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class BasicIterativeMethod:
    """x ← clip(x + α sign ∇L) into the ball of radius ε (Kurakin et al. 2017, section 2.2).

    Each step costs one forward and one gradient evaluation per image; a query budget lowers the number of steps. The
    paper steps by 1/255, min(ε + 4, 1.25 ε) times with ε in 255ths: `step_size: 1/255` and that many steps.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torchattacks

        epsilon, steps = threat.epsilon or 0.0, affordable(self.params.steps, threat.query_budget)
        if epsilon <= ROUNDING or steps == 0:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            alpha = self.params.step_size or epsilon / steps
            return torchattacks.BIM(torchattacks_adapter.stoppable(module, ctx), eps=epsilon, alpha=alpha, steps=steps)

        made = torchattacks_adapter.run(build, model, x, Aim.of(threat, y, aux), ctx, self.params.batch_size)
        return project(made, x, Norm.LINF, epsilon)


def affordable(steps: int, query_budget: int | None) -> int:
    """Steps of one forward and one gradient evaluation each that `query_budget` evaluations pay for."""
    return steps if query_budget is None else min(steps, query_budget // 2)


SPEC = AttackSpec(
    name="bim",
    summary="Small steps along the gradient's sign, clipped to the ball, from the image itself.",
    citation="Kurakin, Goodfellow, Bengio 2017, Adversarial examples in the physical world, section 2.2; "
    "arXiv 1607.02533",
    params=Params,
    load=BasicIterativeMethod,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF,),
    reads=frozenset({"goal", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS}),
)
