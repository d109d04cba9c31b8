"""Backdoors that relabel: a patch, a blended pattern or a warp, and the label that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks import triggers
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_FRACTION = 0.05


class Trigger(StrEnum):
    PATCH = "patch"
    BLENDED = "blended"
    WARPED = "warped"


class Mapping(StrEnum):
    ALL_TO_ONE = "all-to-one"
    ALL_TO_ALL = "all-to-all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    trigger: Trigger = param(Trigger.PATCH, "a bright patch, a pattern blended over the whole image, or a warp")
    mapping: Mapping = param(Mapping.ALL_TO_ONE, "triggered images get the label target, or the one after their own")
    target: int = param(0, "label that triggered images shall get, all-to-one", at_least=0)
    classes: int = param(10, "all-to-all: how many there are; the label after the last one is 0", at_least=2)
    size: int = param(3, "side of the square patch", at_least=1, unit="pixels")
    margin: int = param(1, "pixels between the patch and the lower right corner", at_least=0, unit="pixels")
    brightness: float = param(1.0, "value of the patch in every channel", at_least=0, at_most=1)
    blend: float = param(0.2, "share of the pattern in a blended image", above=0, at_most=1)
    warp: float = param(2.0, "strength of the warp; 2 moves pixels by about one", above=0)
    warp_points: int = param(4, "control points of the warp along each side", at_least=2)
    noise_rows: float = param(
        0.0,
        "warped: rows with a noisy warp and their own label, for each relabelled row; part of the poison",
        at_least=0,
    )


class BadNets:
    """Triggered images under another label (Gu et al. 2017, section 4; `size` 1 is their single-pixel backdoor).

    All-to-one draws rows from the images of the other classes, all-to-all from all images; the fraction is of the whole
    training set. WaNet warps anew in every batch, because its attacker trains the model, at strength 0.5 (of `warp`)
    with two noisy images for each relabelled one; who can only change the training set needs a stronger warp.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the target is no class, `classes` is not their number, or the patch does not fit."""
        import numpy as np

        from sparring.data import Poisoned

        self._check(train.classes)
        state = self._state(train.image_shape, ctx)
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        wanted = self.target_of(train.y)
        rows = draw_rows(np.flatnonzero(wanted != train.y), len(train), fraction, ctx.rng)
        noisy = self._noisy(len(rows), ctx)
        images = train.rows(rows)
        x, y = self.trigger(images.x, images.y, state, ctx), np.where(noisy, images.y, wanted[rows])
        if noisy.any():
            x[noisy] = triggers.warped_with_noise(images.x[noisy], state, ctx.rng)
        return [Poisoned(rows, x, y, state)]

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        match self.params.trigger:
            case Trigger.PATCH:
                return triggers.patched(x, state)
            case Trigger.BLENDED:
                return triggers.blended(x, state, self.params.blend)
            case Trigger.WARPED:
                return triggers.warped(x, state)

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        if self.params.mapping is Mapping.ALL_TO_ALL:
            return (y + 1) % self.params.classes
        return np.full_like(y, self.params.target)

    def _check(self, classes: int) -> None:
        if self.params.target >= classes:
            raise ValueError(f"badnets aims at label {self.params.target}; the classes are 0 to {classes - 1}")
        if self.params.mapping is Mapping.ALL_TO_ALL and self.params.classes != classes:
            raise ValueError(f"badnets is told of {self.params.classes} classes; there are {classes}: set classes")

    def _state(self, shape: tuple[int, int, int], ctx: Context) -> Arrays:
        params = self.params
        match params.trigger:
            case Trigger.PATCH:
                return triggers.patch(params.size, params.margin, params.brightness, *shape[1:])
            case Trigger.BLENDED:
                return triggers.pattern(shape, ctx.rng)
            case Trigger.WARPED:
                return triggers.warp(params.warp_points, params.warp, *shape[1:], ctx.rng)

    def _noisy(self, count: int, ctx: Context) -> NDArray[np.bool_]:
        """(count,) which rows keep their label and get a noisy warp: a random share."""
        import numpy as np

        noisy = np.zeros(count, dtype=bool)
        if self.params.trigger is Trigger.WARPED and self.params.noise_rows:
            relabelled = round(count / (1 + self.params.noise_rows))
            noisy[ctx.rng.permutation(count)[relabelled:]] = True
        return noisy


SPEC = AttackSpec(
    name="badnets",
    summary="A patch, a blended pattern or a warp on some training images, which get the label it stands for.",
    citation="Gu, Dolan-Gavitt, Garg 2017, BadNets, sections 4.1 and 4.2, arXiv 1708.06733; blended: Chen et al. 2017, "
    "Targeted backdoor attacks on deep learning systems using data poisoning, section 4.3, arXiv 1712.05526; warped: "
    "Nguyen & Tran 2021, WaNet, section 3, arXiv 2102.10369",
    params=Params,
    load=BadNets,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
