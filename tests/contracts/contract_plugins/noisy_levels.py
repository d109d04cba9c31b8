"""A randomised guard that is flat almost everywhere: noise, then few grey levels."""

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
    sigma: float = param(0.2, "standard deviation of the noise", at_least=0)
    levels: int = param(3, "grey levels", at_least=2)


class NoisyLevels:
    """An adaptive attacker's gradient passes straight through."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        import torch

        from sparring.model import Guard, TransformedModel

        def filtered(x: Tensor) -> Tensor:
            noise = torch.randn(x.shape, generator=ctx.generator).to(x.device)
            steps = self.params.levels - 1
            return ((x + self.params.sigma * noise).clamp(0, 1) * steps).round() / steps

        return Guard(TransformedModel(model, filtered, backward="identity"), randomised=True)


SPEC = DefenceSpec(
    name="noisy-levels",
    summary="Noise and coarse grey levels in front of the model.",
    params=Params,
    load=NoisyLevels,
    acts=frozenset({Act.GUARD}),
)
