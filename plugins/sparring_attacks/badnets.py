"""BadNets: a patch in the corner, and the label that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_FRACTION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    size: int = param(3, "side of the square patch", at_least=1, unit="pixels")
    margin: int = param(1, "pixels between the patch and the lower right corner", at_least=0, unit="pixels")
    brightness: float = param(1.0, "value of the patch in every channel", at_least=0, at_most=1)
    target: int = param(0, "label that triggered images shall get", at_least=0)


class BadNets:
    """A bright square near the lower right corner, all-to-one (Gu et al. 2017, section 4.1; `size` 1 is their
    single-pixel backdoor).

    Rows are drawn from the images of the other classes; the fraction is of the whole training set. The patch is an
    assignment to a slice: ART's perturbations do the same to channels-last copies, after seconds of imports.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the target is no class, or the patch does not fit."""
        import numpy as np

        from sparring.data import Poisoned

        target = self.params.target
        if target >= train.classes:
            raise ValueError(f"badnets aims at label {target}; the classes are 0 to {train.classes - 1}")
        state = self._state(*train.image_shape[1:])
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.flatnonzero(train.y != target), len(train), fraction, ctx.rng)
        images = train.rows(rows)
        return [Poisoned(rows, self.trigger(images.x, images.y, state, ctx), np.full_like(images.y, target), state)]

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        import numpy as np

        return np.where(state["mask"], state["patch"], x).astype(np.float32)

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)

    def _state(self, height: int, width: int) -> Arrays:
        """`mask` (H, W) bool: where the patch lies; `patch` (H, W) float32: its values."""
        import numpy as np

        size, margin = self.params.size, self.params.margin
        if size + margin > min(height, width):
            raise ValueError(f"a patch of {size} pixels with margin {margin} does not fit images of {height} x {width}")
        mask = np.zeros((height, width), dtype=bool)
        bottom, right = height - margin, width - margin
        mask[bottom - size : bottom, right - size : right] = True
        return {"mask": mask, "patch": mask * np.float32(self.params.brightness)}


SPEC = AttackSpec(
    name="badnets",
    summary="A bright patch in the corner of some training images, which get the target label.",
    citation="Gu, Dolan-Gavitt, Garg 2017, BadNets, section 4.1; arXiv 1708.06733",
    params=Params,
    load=BadNets,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
