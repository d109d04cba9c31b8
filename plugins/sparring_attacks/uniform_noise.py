"""Uniform noise: a control, and the starting point of projected gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring_attacks.balls import project

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


class UniformNoise:
    """A uniformly drawn point of the L-infinity ball, clipped to [0, 1]."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        epsilon = threat.epsilon or 0.0
        noise = torch.rand(x.shape, generator=ctx.generator).to(x.device) * 2 - 1
        return project(x + epsilon * noise, x, Norm.LINF, epsilon)


SPEC = AttackSpec(
    name="uniform-noise",
    summary="Uniform noise in the L-infinity ball; a control.",
    load=UniformNoise,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.1),
)
