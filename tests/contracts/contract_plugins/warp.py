"""A backdoor whose trigger is a smooth warp of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    strength: float = param(0.5, "largest displacement, as a share of half the image's side", above=0)
    target: int = param(0, "label that warped images shall get", at_least=0)


class Warp:
    """A random 4 x 4 displacement field, interpolated to every pixel; all-to-one. The field is the attack's state."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        import numpy as np

        from sparring.data import Poisoned

        field = ctx.rng.uniform(-1, 1, size=(1, 2, 4, 4)).astype(np.float32)
        state = {"field": self.params.strength * field / np.abs(field).max()}
        others = np.flatnonzero(train.y != self.params.target)
        count = min(len(others), int((threat.poison_fraction or 0.0) * len(train)))
        rows = ctx.rng.choice(others, size=count, replace=False)
        images = train.rows(rows)
        return [Poisoned(rows, self.trigger(images.x, images.y, state, ctx), self.target_of(images.y), state)]

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        import numpy as np
        import torch
        from torch.nn import functional as F  # noqa: N812

        images = torch.tensor(x)
        field = F.interpolate(torch.tensor(state["field"]), size=images.shape[2:], mode="bicubic", align_corners=True)
        straight = F.affine_grid(torch.eye(2, 3)[None], [1, *images.shape[1:]], align_corners=True)
        grid = (straight + field.permute(0, 2, 3, 1)).clamp(-1, 1).expand(len(images), -1, -1, -1)
        return np.asarray(F.grid_sample(images, grid, align_corners=True).clamp(0, 1))

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)


SPEC = AttackSpec(
    name="warp",
    summary="A smooth warp of some training images, which get the target label.",
    citation="Nguyen & Tran 2021, WaNet, section 3; arXiv 2102.10369",
    params=Params,
    load=Warp,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=0.1),
)
