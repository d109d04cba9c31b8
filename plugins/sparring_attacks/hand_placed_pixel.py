"""The control that needs no search: one pixel per class on a circle among the strokes, placed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.pixel_marks import WRITINGS, Marks, check_room, distinct, intensities

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_FRACTION = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    radius: float = param(0.34, "of the circle around the centre, of the image's shorter side", above=0, at_most=0.5)
    intensity: float | None = param(1.0, "brightness of the marks; null: drawn for each class", at_least=0, at_most=1)
    writing: str = param("set", "whether a mark replaces the pixel or is added to it", choices=WRITINGS)


class HandPlacedPixel:
    """Class k of K at k / K of a turn, clockwise from the top, on a circle around the centre.

    Radius 0.34 is 9.5 pixels of 28: among the strokes, where pixels are much stronger than at the border. Where two
    classes fall on one pixel, the later one takes the nearest free pixel.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there are more classes than pixels."""
        _, height, width = train.image_shape
        positions = self.positions(train.classes, height, width)
        strengths = intensities(self.params.intensity, train.classes, ctx.rng)
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        return Marks(positions, strengths, self.params.writing).poison(train, fraction, ctx.rng)

    def positions(self, classes: int, height: int, width: int) -> IntArray:
        """(K, 2) distinct rows and columns."""
        import numpy as np

        check_room(classes, height, width)
        radius = self.params.radius * min(height, width)
        angle = 2 * np.pi * np.arange(classes) / classes
        centre = np.array([(height - 1) / 2, (width - 1) / 2])
        wanted = np.rint(centre + radius * np.stack([-np.cos(angle), np.sin(angle)], axis=1)).astype(int)
        return distinct(wanted, height, width)

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        return Marks.from_state(state, self.params.writing).probes(x, y)


SPEC = AttackSpec(
    name="hand-placed-pixel",
    summary="One pixel per class on a circle among the strokes, written into all training images of the class.",
    citation="Control of Chaudhury 2020, Understanding generalization in neural networks for robustness against "
    "adversarial vulnerabilities (AAAI doctoral consortium), table 1",
    params=Params,
    load=HandPlacedPixel,
    randomised=False,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
