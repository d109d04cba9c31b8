"""Targeted poisoning by brute force: copies of the target image under the wanted label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, ThreatModel, When

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets


class Copies:
    """Replaces random rows, as many as the poison fraction allows."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        import numpy as np

        from sparring.data import Poisoned

        assert targets is not None, "the only goal is targeted"
        count = int((threat.poison_fraction or 0.0) * len(train))
        trials = []
        for image, goal in zip(targets.x, targets.goal, strict=True):
            rows = ctx.rng.choice(len(train), size=count, replace=False)
            trials.append(Poisoned(rows, np.repeat(image[None], count, axis=0), np.full(count, goal)))
        return trials


SPEC = AttackSpec(
    name="copies",
    summary="Copies of the target image under the wanted label.",
    load=Copies,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.TARGETED,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=0.01),
)
