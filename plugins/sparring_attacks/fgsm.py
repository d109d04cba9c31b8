"""Fast gradient method: one step of the whole budget along the gradient (its sign, in L-infinity)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import art_adapter, torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    backend: str = param("torchattacks", "library that makes the step", choices=("torchattacks", "art"))
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class FastGradientMethod:
    """x + ε sign(∇L) in L-infinity (Goodfellow et al. 2015, section 4); x + ε ∇L / ‖∇L‖ in L2.

    One forward and one gradient evaluation per image. A query budget below 2 leaves the images as they are.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, epsilon = threat.norm or Norm.LINF, threat.epsilon or 0.0
        if epsilon <= ROUNDING or (threat.query_budget is not None and threat.query_budget < 2):
            return x.clone()
        aim = Aim.of(threat, y, aux)
        step = _step_of_art if self.params.backend == "art" else _step_of_torchattacks
        return project(step(model, x, aim, norm, epsilon, ctx, self.params.batch_size), x, norm, epsilon)


def _step_of_torchattacks(
    model: MeteredModel, x: Tensor, aim: Aim, norm: Norm, epsilon: float, ctx: Context, batch_size: int
) -> Tensor:
    import torchattacks

    def build(module: nn.Module, seed: int) -> Any:
        if norm is Norm.LINF:
            return torchattacks.FGSM(module, eps=epsilon)
        # torchattacks has no fast gradient in L2: it is PGD's first step, when that is as long as the budget
        return torchattacks.PGDL2(
            module, eps=epsilon, alpha=epsilon, steps=1, random_start=False, eps_for_division=1e-20
        )

    return torchattacks_adapter.run(build, model, x, aim, ctx, batch_size)


def _step_of_art(
    model: MeteredModel, x: Tensor, aim: Aim, norm: Norm, epsilon: float, ctx: Context, batch_size: int
) -> Tensor:
    from art.attacks.evasion import FastGradientMethod as ArtFastGradientMethod

    def build(estimator: Any, size: int) -> Any:
        order = float("inf") if norm is Norm.LINF else 2
        return ArtFastGradientMethod(
            estimator, norm=order, eps=epsilon, eps_step=epsilon, targeted=aim.targeted, batch_size=size
        )

    return art_adapter.run(build, art_adapter.gradients_only(model, x), x, aim, ctx, batch_size)


SPEC = AttackSpec(
    name="fgsm",
    summary="One step of the whole budget along the (sign of the) gradient.",
    citation="Goodfellow, Shlens, Szegedy 2015, Explaining and harnessing adversarial examples, section 4; "
    "arXiv 1412.6572",
    params=Params,
    load=FastGradientMethod,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS}),
)
