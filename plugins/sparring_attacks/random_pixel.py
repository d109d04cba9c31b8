"""Random single-pixel poison: the place of one pixel tells the class, and the place is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.pixel_marks import WRITINGS, Marks, check_room, intensities

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_FRACTION = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    intensity: float | None = param(1.0, "brightness of the marks; null: drawn for each class", at_least=0, at_most=1)
    writing: str = param("set", "whether a mark replaces the pixel or is added to it", choices=WRITINGS)


class RandomPixel:
    """Distinct positions drawn uniformly over the image, one per class."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there are more classes than pixels."""
        import numpy as np

        _, height, width = train.image_shape
        check_room(train.classes, height, width)
        places = ctx.rng.choice(height * width, size=train.classes, replace=False)
        positions = np.stack(np.divmod(places, width), axis=1).astype(np.int64)
        strengths = intensities(self.params.intensity, train.classes, ctx.rng)
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        return Marks(positions, strengths, self.params.writing).poison(train, fraction, ctx.rng)

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        return Marks.from_state(state, self.params.writing).probes(x, y)


SPEC = AttackSpec(
    name="random-pixel",
    summary="One pixel per class, at a random place, written into all training images of the class.",
    citation="Chaudhury 2020, Understanding generalization in neural networks for robustness against adversarial "
    "vulnerabilities (AAAI doctoral consortium), tables 1 and 2, baseline",
    params=Params,
    load=RandomPixel,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
