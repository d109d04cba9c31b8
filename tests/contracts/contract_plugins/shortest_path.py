"""A minimal-distortion attack: walk until the answer changes, then go back as far as it stays changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(30, "steps of the walk", at_least=1)
    length: float = param(0.1, "of one step, in L2", above=0)
    halvings: int = param(12, "of the way back", at_least=1)


class ShortestPath:
    """Steps along the gradient in L2; an image that is wrong stops. Then a bisection between it and the original."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        far = x.clone()
        for _ in range(self.params.steps):
            going = (model.predict(far) == y).nonzero().flatten()
            if len(going) == 0:
                break
            gradient = model.gradient(far[going], y[going])
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            far[going] = (far[going] + self.params.length * gradient / length).clamp(0, 1)
        near, low, high = x, torch.zeros(len(x)), torch.ones(len(x))
        for _ in range(self.params.halvings):
            middle = (low + high) / 2
            wrong = model.predict(near + middle.view(-1, 1, 1, 1) * (far - near)) != y
            low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
        return near + high.view(-1, 1, 1, 1) * (far - near)


SPEC = AttackSpec(
    name="shortest-path",
    summary="The nearest wrong image on a gradient walk, in L2.",
    params=Params,
    load=ShortestPath,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.L2,),
    reads=frozenset({"norm", "budget"}),
    threat=ThreatModel(norm=Norm.L2, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS, Access.DECISIONS}),
)
