"""Class-wise noise that a network learns instead of the images; probes show that the noise alone suffices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets


class Patterns:
    """Adds to every poisoned image a random pattern of signs, the same for all images of a class. Labels stay."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        import numpy as np

        from sparring.data import Poisoned

        signs = ctx.rng.choice([-1.0, 1.0], size=(train.classes, *train.image_shape))
        state = {"noise": (signs * (threat.epsilon or 0.0)).astype(np.float32)}
        rows = ctx.rng.permutation(len(train))[: int((threat.poison_fraction or 0.0) * len(train))]
        images = train.rows(rows)
        return [Poisoned(rows, (images.x + state["noise"][images.y]).clip(0, 1), images.y, state)]

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        """`noise`: the noise of each class on mid grey, labelled with the class."""
        import numpy as np

        noise = state["noise"]
        return {"noise": ((0.5 + noise).clip(0, 1), np.arange(len(noise)))}


SPEC = AttackSpec(
    name="patterns",
    summary="Class-wise noise on training images.",
    citation="Huang et al. 2021, Unlearnable examples, section 3 (class-wise noise); arXiv 2101.04898",
    load=Patterns,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    norms=(Norm.LINF,),
    reads=frozenset({"poison_fraction", "label_changes", "epsilon", "norm"}),
    threat=ThreatModel(poison_fraction=1.0, label_changes=False, epsilon=0.5),
)
