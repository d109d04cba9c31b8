"""The momentum iterative fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project
from sparring_attacks.bim import affordable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(10, "gradient steps", at_least=1)
    step_size: float | None = param(None, "length of one step; null: epsilon / steps", above=0, unit="[0, 1] pixels")
    decay: float = param(1.0, "how much of the last direction is kept in each step", at_least=0)
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class MomentumIterativeMethod:
    """g ← μ g + ∇L / mean|∇L|, x ← clip(x + α sign g) into the ball of radius ε (Dong et al. 2018, algorithm 1; α =
    ε / T). Each step costs one forward and one gradient evaluation per image; a query budget lowers their number.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        epsilon, steps = threat.epsilon or 0.0, affordable(self.params.steps, threat.query_budget)
        if epsilon <= ROUNDING or steps == 0:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            return _halting()(
                torchattacks_adapter.stoppable(module, ctx),
                eps=epsilon,
                alpha=self.params.step_size or epsilon / steps,
                steps=steps,
                decay=self.params.decay,
            )

        made = torchattacks_adapter.run(build, model, x, Aim.of(threat, y, aux), ctx, self.params.batch_size)
        return project(made, x, Norm.LINF, epsilon)


def _halting() -> Any:
    """torchattacks' MIFGSM, where an image with a gradient of zero stops.

    Its step divides by the gradient's mean absolute value without a safeguard (mifgsm.py, `forward`): once a gradient
    underflows, as it does for targets reached by a wide margin, the image turns to NaN.
    """
    import torchattacks

    class Halting(torchattacks.MIFGSM):  # type: ignore[misc]
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            last = images

            def remember(_: nn.Module, asked: tuple[Tensor]) -> None:
                nonlocal last
                last = _sound(asked[0].detach(), last)

            watching = self.model.register_forward_pre_hook(remember)
            try:
                return _sound(super().forward(images, labels), last)
            finally:
                watching.remove()

    return Halting


def _sound(x: Tensor, otherwise: Tensor) -> Tensor:
    """`x` (N, C, H, W) where all of an image is finite."""
    return x.where(x.flatten(1).isfinite().all(dim=1).view(-1, 1, 1, 1), otherwise)


SPEC = AttackSpec(
    name="mi-fgsm",
    summary="Steps along the sign of a running sum of normalised gradients, clipped to the ball.",
    citation="Dong et al. 2018, Boosting adversarial attacks with momentum, algorithm 1; arXiv 1710.06081",
    params=Params,
    load=MomentumIterativeMethod,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF,),
    reads=frozenset({"goal", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS}),
)
