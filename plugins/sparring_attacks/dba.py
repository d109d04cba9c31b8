"""Distributed backdoors: malicious clients train on parts of a pattern; the whole of it is the trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparring.contracts import Aux, Context, Update
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_FRACTION = 0.4


class Trigger(StrEnum):
    DISTRIBUTED = "distributed"
    CENTRALISED = "centralised"


class Shots(StrEnum):
    MULTI = "multi"
    SINGLE = "single"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    trigger: Trigger = param(
        Trigger.DISTRIBUTED, "on each poisoned training image: one of the four parts, or the whole pattern"
    )
    shots: Shots = param(
        Shots.MULTI, "multi: malicious clients attack in every round; single: each in one round, and sends nothing else"
    )
    scale: float | None = param(
        None,
        "by which a malicious change is multiplied; null: 1 in multi-shot attacks, 10 in single-shot ones",
        above=0,
    )
    start: int = param(0, "first round of the attack, counted from 0", at_least=0)
    interval: int = param(1, "rounds between the single shots of two clients; 0: all in the same round", at_least=0)
    poisoned_rows: float = param(0.3, "share of a malicious client's rows that are poisoned", above=0, at_most=1)
    length: int | None = param(None, "of each bar; null: a seventh of the image's width", at_least=1, unit="pixels")
    gap: int | None = param(None, "between bars; null: half their length", at_least=0, unit="pixels")
    target: int = param(0, "label that triggered images shall get", at_least=0)


class Dba:
    """Four bars of one pixel's height in the upper left corner, two beside two (Xie et al. 2020, section 3.2 and figure
    1; the factors trigger size, gap and location, the latter fixed). Test images carry all four in either case.

    The paper gives each malicious client one part. Here the harness deals the poisoned rows to the malicious clients,
    at random; so the parts are distributed over their images. A client that sends nothing is one that was not chosen.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the target is no class, or the pattern does not fit."""
        import numpy as np

        from sparring.data import Poisoned

        if self.params.target >= train.classes:
            raise ValueError(f"dba aims at label {self.params.target}; the classes are 0 to {train.classes - 1}")
        parts = self._parts(*train.image_shape[1:])
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        others = np.flatnonzero(train.y != self.params.target)
        rows = draw_rows(others, len(train), fraction * self.params.poisoned_rows, ctx.rng)
        carried = ctx.rng.permutation(np.arange(len(rows)) % len(parts))
        distributed = self.params.trigger is Trigger.DISTRIBUTED
        marks = parts[carried] if distributed else np.broadcast_to(parts.any(axis=0), (len(rows), *parts.shape[1:]))
        images = train.rows(rows)
        x = np.where(marks[:, None], np.float32(1), images.x)
        return [Poisoned(rows, x, self.target_of(images.y), {"parts": parts})]

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        import numpy as np

        return np.where(state["parts"].any(axis=0), np.float32(1), x)

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)

    def corrupt(self, update: Update, client: int, round_: int, state: Arrays, ctx: Context) -> Update:
        params = self.params
        if params.shots is Shots.MULTI:
            scale, attacks = params.scale or 1.0, round_ >= params.start
        else:
            scale, attacks = params.scale or 10.0, round_ == params.start + client * params.interval
        factor = scale if attacks else 0.0
        return {name: factor * change for name, change in update.items()}

    def _parts(self, height: int, width: int) -> NDArray[np.bool_]:
        """(4, H, W) where each part lies."""
        import numpy as np

        length = max(1, width // 7) if self.params.length is None else self.params.length
        gap = max(1, length // 2) if self.params.gap is None else self.params.gap
        if 2 * length + gap > width or gap + 2 > height:
            raise ValueError(f"bars of {length} pixels with gaps of {gap} do not fit images of {height} x {width}")
        parts = np.zeros((4, height, width), dtype=bool)
        for part, (row, column) in enumerate((r, c) for r in (0, gap + 1) for c in (0, length + gap)):
            parts[part, row, column : column + length] = True
        return parts


SPEC = AttackSpec(
    name="dba",
    summary="Malicious clients of a federated victim train on parts of a pattern, and send their changes scaled.",
    citation="Xie, Huang, Chen & Li 2020, DBA: Distributed backdoor attacks against federated learning, section 3; "
    "single and multiple shots: section 4.1",
    params=Params,
    load=Dba,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.CORRUPT, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
