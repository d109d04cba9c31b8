"""Universal adversarial perturbation: one change that makes the model wrong about most images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import deepfool
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
    images: int = param(200, "of the attacker's, that the perturbation is made on", at_least=1)
    fooling_rate: float = param(0.8, "1 − δ: it is finished when this part of them is fooled", above=0, at_most=1)
    passes: int = param(5, "over the images at most", at_least=1)
    block: int = param(20, "images whose shortest ways out are computed at a time", at_least=1)
    steps: int = param(10, "linearisations of DeepFool for one image at most", at_least=1)


class UniversalPerturbation:
    """Moosavi-Dezfooli et al. 2017, algorithm 1, on the attacker's images: the shortest way (by DeepFool) out of the
    class of each image that v does not fool yet is added to v, which is then projected onto the ball of radius ε.

    The ways are computed for a block of images at a time, from the v at the start of the block; as in the paper, an
    image that v fools by the time it is its turn is passed over. Fooled means another answer than the model's own for
    the clean image; no label is used. The attacked images get the same v, and the model is not asked about them. Of
    the v after each pass, the one that fools most is used.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, epsilon = threat.norm or Norm.LINF, threat.epsilon or 0.0
        if epsilon <= ROUNDING or len(x) == 0:
            return x.clone()
        images, _ = drawn_images(aux, self.params.images, ctx)
        allowance = Allowance.of(threat.query_budget, len(x))
        return project(x + self._universal(model, images, norm, epsilon, allowance, ctx), x, norm, epsilon)

    def _universal(
        self, model: MeteredModel, images: Tensor, norm: Norm, epsilon: float, allowance: Allowance, ctx: Context
    ) -> Tensor:
        """(C, H, W)."""
        import torch

        best = perturbation = torch.zeros_like(images[0])
        answers, most = _answers(model, images, allowance), 0.0
        if answers is None:
            return best
        for _ in range(self.params.passes):
            for rows in torch.randperm(len(images), generator=ctx.generator).to(images.device).split(self.params.block):
                perturbation = self._after_block(
                    model, images[rows], answers[rows], perturbation, norm, epsilon, allowance, ctx
                )
            now = _answers(model, added(images, perturbation), allowance)
            rate = 0.0 if now is None else float((now != answers).float().mean())
            if now is None and most == 0:
                return perturbation
            if rate > most:
                best, most = perturbation, rate
            if now is None or rate >= self.params.fooling_rate:
                break
        return best

    def _after_block(
        self,
        model: MeteredModel,
        images: Tensor,
        answers: Tensor,
        perturbation: Tensor,
        norm: Norm,
        epsilon: float,
        allowance: Allowance,
        ctx: Context,
    ) -> Tensor:
        """The perturbation after the images of one block."""
        moved = added(images, perturbation)
        settings = deepfool.Params(steps=self.params.steps)
        ways = deepfool.fooled(model, moved, answers, settings, allowance, ctx) - moved
        for image, answer, way in zip(images, answers, ways, strict=True):
            if not way.any():  # fooled already, or not to be fooled
                continue
            now = _answers(model, added(image[None], perturbation), allowance)
            if now is not None and now[0] == answer:
                perturbation = within_ball(perturbation + way, norm, epsilon)
        return perturbation


def _answers(model: MeteredModel, x: Tensor, allowance: Allowance) -> Tensor | None:
    """(N,) predicted classes; `None` when they are not paid for."""
    import torch

    if not allowance.spend(len(x)):
        return None
    with torch.no_grad():
        return model.logits(x).argmax(dim=1)


SPEC = AttackSpec(
    name="uap",
    summary="One perturbation, made on the attacker's images, that is added to all images.",
    citation="Moosavi-Dezfooli, Fawzi, Fawzi & Frossard 2017, Universal adversarial perturbations, algorithm 1; "
    "arXiv 1610.08401",
    params=Params,
    load=UniversalPerturbation,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.2),
    needs=frozenset({Access.GRADIENTS, Access.TRAINING_DATA}),
)
