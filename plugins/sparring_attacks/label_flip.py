"""Label flipping: some training images get a wrong label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets

DEFAULT_FRACTION = 0.1


class LabelFlip:
    """Rows drawn uniformly; each gets one of the other labels, all equally likely. Images stay as they are."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there is only one class."""
        import numpy as np

        from sparring.data import Poisoned

        if train.classes < 2:
            raise ValueError("label-flip needs at least two classes")
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.arange(len(train)), len(train), fraction, ctx.rng)
        shift = ctx.rng.integers(1, train.classes, size=len(rows))
        images = train.rows(rows)
        return [Poisoned(rows, images.x, (images.y + shift) % train.classes)]


SPEC = AttackSpec(
    name="label-flip",
    summary="Random wrong labels on some of the training images.",
    citation="Biggio, Nelson, Laskov 2011, Support vector machines under adversarial label noise, section 3",
    load=LabelFlip,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
