"""Clean-label targeted poisoning of frozen features: images of the wanted class that look like the target inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, ThreatModel, When

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, FloatArray, Poisoned, Targets
    from sparring.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(60, "steps of Adam", at_least=1)
    weight: float = param(0.1, "of the distance to the base image", at_least=0)


class Collision:
    """Minimises |f(x) - f(target)|² + weight |x - base|² from base images of the wanted class (Shafahi et al. 2018,
    equation 1)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        import numpy as np

        from sparring.data import Poisoned

        assert targets is not None, "the only goal is targeted"
        assert aux.features is not None, "needs says features"
        count = int((threat.poison_fraction or 0.0) * len(train))
        trials = []
        for image, goal in zip(targets.x, targets.goal, strict=True):
            bases = np.flatnonzero(train.y == goal)
            rows = ctx.rng.choice(bases, size=min(count, len(bases)), replace=False)
            base = train.rows(rows)
            trials.append(Poisoned(rows, self._collided(aux.features, base.x, image[None]), base.y))
        return trials

    def _collided(self, features: Model, base: FloatArray, target: FloatArray) -> FloatArray:
        import numpy as np
        import torch

        start = torch.tensor(base)
        with torch.no_grad():
            wanted = features.features(torch.tensor(target))
        x = start.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([x], lr=0.05)
        for _ in range(self.params.steps):
            apart = (features.features(x) - wanted).square().sum()
            loss = apart + self.params.weight * (x - start).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        return np.asarray(x.detach())


SPEC = AttackSpec(
    name="collision",
    summary="Training images that collide with the target in the space of frozen features.",
    citation="Shafahi et al. 2018, Poison frogs, section 3.2; arXiv 1804.00792",
    params=Params,
    load=Collision,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.TARGETED,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=0.1, label_changes=False),
    needs=frozenset({Access.FEATURES}),
)
