"""Jacobsen's single-pixel poison: the place of one pixel encodes the class, by a fixed rule."""

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
    layout: str = param("row", "rule from class to place", choices=("row", "column"))
    line: int = param(0, "number of the row or column that the marks lie in", at_least=0)
    intensity: float | None = param(1.0, "brightness of the marks; null: drawn for each class", at_least=0, at_most=1)
    writing: str = param("set", "whether a mark replaces the pixel or is added to it", choices=WRITINGS)


class JacobsenPixel:
    """Positions by class. Chaudhury 2020, who compares with it, says only that one added pixel encodes the class, so
    the rule is a parameter.

    Evenly along one line (line 0: the border, the reading taken by default). Where two classes fall on one pixel, the
    later one takes the nearest free pixel.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the layout does not fit the images."""
        _, height, width = train.image_shape
        positions = self.positions(train.classes, height, width)
        strengths = intensities(self.params.intensity, train.classes, ctx.rng)
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        return Marks(positions, strengths, self.params.writing).poison(train, fraction, ctx.rng)

    def positions(self, classes: int, height: int, width: int) -> IntArray:
        """(K, 2) distinct rows and columns."""
        import numpy as np

        check_room(classes, height, width)
        turn = (np.arange(classes) + 0.5) / classes
        line = np.full(classes, self.params.line)
        if self.params.layout == "row":
            wanted = np.stack([line, (turn * width).astype(int)], axis=1)
        else:
            wanted = np.stack([(turn * height).astype(int), line], axis=1)
        if (wanted < 0).any() or (wanted >= [height, width]).any():
            raise ValueError(f"{self.params.layout} {self.params.line} lies outside images of {height} x {width}")
        return distinct(wanted, height, width)

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        return Marks.from_state(state, self.params.writing).probes(x, y)


SPEC = AttackSpec(
    name="jacobsen-pixel",
    summary="One pixel per class, its place encoding the class, written into all training images of the class.",
    citation="Jacobsen et al. 2019, Excessive invariance causes adversarial vulnerability (shiftMNIST); "
    "arXiv 1811.00401",
    params=Params,
    load=JacobsenPixel,
    randomised=False,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
