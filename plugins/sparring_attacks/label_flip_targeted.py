"""Class-targeted label flips: images of one class get the label of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets

DEFAULT_FRACTION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    source: tuple[int, ...] = param((0,), "labels that are changed", at_least=0)
    target: tuple[int, ...] = param((1,), "what they become, one for each source", at_least=0)

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target):
            raise ValueError(f"label-flip-targeted: {len(self.source)} sources and {len(self.target)} targets")
        if len(set(self.source)) != len(self.source):
            raise ValueError("label-flip-targeted: a source is named twice")
        if any(a == b for a, b in zip(self.source, self.target, strict=True)):
            raise ValueError("label-flip-targeted: a label stays what it is")


class LabelFlipTargeted:
    """Rows are drawn uniformly from the source classes together, as many as the fraction of the whole training set
    allows: all of them, where it allows more. Images stay as they are."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when a source or a target is no class."""
        import numpy as np

        from sparring.data import Poisoned

        named = (*self.params.source, *self.params.target)
        if max(named, default=0) >= train.classes:
            raise ValueError(f"label-flip-targeted names label {max(named)}; the classes are 0 to {train.classes - 1}")
        becomes = np.arange(train.classes)
        becomes[list(self.params.source)] = self.params.target
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.flatnonzero(becomes[train.y] != train.y), len(train), fraction, ctx.rng)
        images = train.rows(rows)
        return [Poisoned(rows, images.x, becomes[images.y].astype(np.int64))]


SPEC = AttackSpec(
    name="label-flip-targeted",
    summary="Training images of chosen classes under the labels of others.",
    citation="Tolpegin, Truex, Gursoy & Liu 2020, Data poisoning attacks against federated learning systems, "
    "section 3.2; arXiv 2007.08432",
    params=Params,
    load=LabelFlipTargeted,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
