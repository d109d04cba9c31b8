"""Cutout: a random square of every training image is blanked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.own_training import Batch, own_fit

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sparring.contracts import Context, Victim
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    side: float = param(0.35, "side of the square, as a share of the image's shorter side", above=0, at_most=1)
    fill: float = param(0.0, "value of the blanked pixels", at_least=0, at_most=1)


class Cutout:
    """DeVries & Taylor 2017, section 3.2: the centre of the square is any pixel, so that parts of it may lie outside.
    The paper fills with the data set's mean after normalisation; `fill` is in [0, 1] pixels, black by default."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        def lesson(batch: Batch) -> Tensor:
            return batch.update(self.cut(batch.x, ctx.generator))

        return own_fit(victim, train, recipe, ctx, lesson)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)

    def cut(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W), each with a blank square of its own."""
        import torch

        side = max(1, round(self.params.side * min(x.shape[2:])))
        covered = []
        for size in x.shape[2:]:
            start = torch.randint(size, (len(x), 1), generator=generator) - side // 2
            position = torch.arange(size)
            covered.append(((position >= start) & (position < start + side)).to(x.device))
        rows, columns = covered
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], self.params.fill)


SPEC = DefenceSpec(
    name="cutout",
    summary="Trains on images of which a random square is blanked.",
    citation="DeVries & Taylor 2017, Improved regularization of convolutional neural networks with cutout, "
    "section 3.2; arXiv 1708.04552",
    params=Params,
    load=Cutout,
    acts=frozenset({Act.OWN_FIT}),
    needs=frozenset({Access.WEIGHTS, Access.RECIPE}),
)
