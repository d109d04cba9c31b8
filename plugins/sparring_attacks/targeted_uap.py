"""Targeted universal perturbation: one change for each wanted label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.allowance import Allowance
from sparring_attacks.attacker_data import drawn_images
from sparring_attacks.balls import ROUNDING, project
from sparring_attacks.universal import added, within_ball

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    images: int = param(500, "of the attacker's, that the perturbations are made on", at_least=1)
    steps: int = param(60, "gradient steps for each wanted label", at_least=1)
    step_size: float = param(0.1, "length of one step, as a part of epsilon; it falls to 0 along a line", above=0)
    batch_size: int = param(64, "of the attacker's images in one step, drawn with replacement", at_least=1)


class TargetedUniversalPerturbation:
    """Hirano & Takemoto 2020, algorithm 1, with mini-batches: for each label that is wanted of any image, steps along
    the gradient that lowers the loss at that label (its sign in L-infinity, its direction in L2), averaged over a batch
    of the attacker's images that carry the perturbation, each followed by a projection onto the ball of radius ε.

    Images with the same wanted label get the same perturbation. Two evaluations for each image of each step, none for
    the images under attack; with a query budget, every wanted label gets the same number of steps.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        norm, epsilon, aim = threat.norm or Norm.LINF, threat.epsilon or 0.0, Aim.of(threat, y, aux)
        if not aim.targeted:
            raise ValueError("targeted-uap pursues the goal targeted only")
        if epsilon <= ROUNDING or len(x) == 0:
            return x.clone()
        images, labels = drawn_images(aux, self.params.images, ctx)
        allowance, wanted = Allowance.of(threat.query_budget, len(x)), aim.labels.unique()
        perturbations = torch.zeros(int(wanted.max()) + 1, *x.shape[1:], device=x.device)
        for step in range(self.params.steps):
            length = self.params.step_size * epsilon * (1 - step / self.params.steps)
            for label in wanted:
                others = images[labels != label]  # those of the class itself have nothing to learn
                if len(others) == 0 or not allowance.spend(2 * self.params.batch_size):
                    continue
                drawn = torch.randint(len(others), (self.params.batch_size,), generator=ctx.generator)
                batch = others[drawn.to(x.device)]
                now = perturbations[label]
                gradient = model.gradient(added(batch, now), label.expand(len(batch))).mean(dim=0)
                towards = -(gradient.sign() if norm is Norm.LINF else gradient / gradient.norm().clamp(min=1e-20))
                perturbations[label] = within_ball(now + length * towards, norm, epsilon)
            ctx.progress(step + 1, self.params.steps, "steps")
        return project(x + perturbations[aim.labels], x, norm, epsilon)


SPEC = AttackSpec(
    name="targeted-uap",
    summary="For each wanted label one perturbation, made on the attacker's images, that leads all images to it.",
    citation="Hirano & Takemoto 2020, Simple iterative method for generating targeted universal adversarial "
    "perturbations, algorithm 1; arXiv 1911.06502",
    params=Params,
    load=TargetedUniversalPerturbation,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.TARGETED,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.TARGETED, norm=Norm.LINF, epsilon=0.2),
    needs=frozenset({Access.GRADIENTS, Access.TRAINING_DATA}),
)
