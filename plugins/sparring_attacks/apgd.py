"""Auto-PGD: projected gradient descent that sets its own step size, with three losses."""

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

NORMS = {Norm.LINF: "Linf", Norm.L2: "L2"}
MOST_TARGETS = 9
"""Target classes of the targeted attacks (Croce & Hein 2020, section 5): the most likely ones but the true label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    loss: str = param(
        "ce",
        "ce: cross-entropy; dlr: difference of logits ratio; dlr-targeted: the same towards each of the nine most "
        "likely other classes in turn",
        choices=("ce", "dlr", "dlr-targeted"),
    )
    steps: int = param(100, "gradient steps of one run", at_least=1)
    restarts: int = param(1, "runs from different random starts, for images that still stand", at_least=1)
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class AutoProjectedGradientDescent:
    """Steps with momentum whose length is halved at checkpoints where progress is poor (Croce & Hein 2020, algorithm 1
    and section 3). Images on which every run failed are left as they are.

    A run of k steps costs 2 k + 2 evaluations per image, the targeted loss one more; a first forward evaluation tells
    the images that are wrong already. A query budget first drops restarts, then steps.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, epsilon, loss = threat.norm or Norm.LINF, threat.epsilon or 0.0, self.params.loss
        targets = targets_of(model.classes) if loss == "dlr-targeted" else 1
        restarts, steps = affordable(self.params.restarts, self.params.steps, targets, loss, threat.query_budget)
        if epsilon <= ROUNDING or steps < 1:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            watched = torchattacks_adapter.stoppable(module, ctx)
            return apgd(watched, norm, epsilon, loss, steps, restarts, targets, seed)

        made = torchattacks_adapter.run(build, model, x, Aim(y, targeted=False), ctx, self.params.batch_size)
        return project(made, x, norm, epsilon)


def apgd(
    module: nn.Module, norm: Norm, epsilon: float, loss: str, steps: int, restarts: int, targets: int, seed: int
) -> Any:
    """torchattacks' Auto-PGD with one of the losses of `Params.loss`."""
    import torchattacks

    settings = {"norm": NORMS[norm], "eps": epsilon, "steps": steps, "n_restarts": restarts, "seed": seed}
    if loss == "dlr-targeted":
        return torchattacks.APGDT(torchattacks_adapter.with_ranks(module, 4), n_classes=targets + 1, **settings)
    ranked = torchattacks_adapter.with_ranks(module, 3) if loss == "dlr" else module
    return torchattacks.APGD(ranked, loss=loss, **settings)


def targets_of(classes: int) -> int:
    """How many target classes the targeted attacks go through."""
    return min(MOST_TARGETS, classes - 1)


def cost(steps: int, loss: str) -> int:
    """Evaluations per image of one run; it starts with one more, together with all other runs of the attack."""
    return 2 * steps + 2 + (loss == "dlr-targeted")


def affordable(restarts: int, steps: int, targets: int, loss: str, query_budget: int | None) -> tuple[int, int]:
    """(restarts, steps) that `query_budget` evaluations per image pay for; less than one step where it pays for
    none."""
    if query_budget is None:
        return restarts, steps
    runs = min(restarts, (query_budget - 1) // (targets * cost(steps, loss)))
    if runs > 0:
        return runs, steps
    return 1, ((query_budget - 1) // targets - cost(0, loss)) // 2


SPEC = AttackSpec(
    name="apgd",
    summary="Projected gradient descent that sets its own step size: Auto-PGD.",
    citation="Croce & Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of diverse "
    "parameter-free attacks, sections 3 and 4; arXiv 2003.01690",
    params=Params,
    load=AutoProjectedGradientDescent,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS}),
)
