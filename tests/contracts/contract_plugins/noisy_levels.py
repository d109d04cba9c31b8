"""A randomised guard that is flat almost everywhere: noise, a blur, then few grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.model import Guard, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    sigma: float = param(0.1, "standard deviation of the noise", at_least=0)
    levels: int = param(5, "grey levels", at_least=2)


class NoisyLevels:
    """The blur takes the fine structure out of a perturbation that was made without knowing of it. An adaptive
    attacker's gradient is that of the blur alone, and averaged over the noise."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        import torch
        from torch.nn import functional as F  # noqa: N812

        from sparring.model import Guard, TransformedModel

        def blurred(x: Tensor) -> Tensor:
            return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

        def filtered(x: Tensor) -> Tensor:
            noise = torch.randn(x.shape, generator=ctx.generator).to(x.device)
            steps = self.params.levels - 1
            return (blurred((x + self.params.sigma * noise).clamp(0, 1)) * steps).round() / steps

        return Guard(TransformedModel(model, filtered, backward=blurred), randomised=True)


SPEC = DefenceSpec(
    name="noisy-levels",
    summary="Noise, a blur and coarse grey levels in front of the model.",
    params=Params,
    load=NoisyLevels,
    acts=frozenset({Act.GUARD}),
)
