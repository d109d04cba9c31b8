"""Gaussian noise: the control that every evasion attack must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring_attacks.balls import project

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


class GaussianNoise:
    """Independent normal noise on every value, inside the budget.

    L-infinity: sigma = epsilon / 2, truncated to ±epsilon (at two sigma, 4.6 % of the values).
    L2: a direction drawn uniformly, of length epsilon. In high dimension d this is noise of sigma = epsilon / √d:
    the rows "Gaussian noise, sigma 0.1" of Szegedy et al. are epsilon = 0.1 √d, 2.8 for 28 x 28 images.
    Clipping to [0, 1] then only shortens it.
    """

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        norm, epsilon = threat.norm or Norm.LINF, threat.epsilon or 0.0
        noise = torch.randn(x.shape, generator=ctx.generator).to(x.device)
        if norm is Norm.LINF:
            noise *= epsilon / 2
        else:
            noise *= epsilon / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return project(x + noise, x, norm, epsilon)


SPEC = AttackSpec(
    name="gaussian-noise",
    summary="Normal noise on every value, inside the budget; a control.",
    citation="Szegedy et al. 2014, Intriguing properties of neural networks, table 1; arXiv 1312.6199",
    load=GaussianNoise,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"norm", "epsilon"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.1),
)
