"""A detector: inputs far from all clean images the defender has are suspicious."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, NoParams

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model


class NearestDistance:
    """The score is the mean distance in pixel space to the nearest clean images, an identical one left out: the
    threshold is set on the very images that are remembered."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def calibrate(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Arrays:
        return {"known": defender_clean.x.reshape(len(defender_clean), -1)}

    def score(self, model: Model, x: Tensor, state: Arrays, ctx: Context) -> Tensor:
        import torch

        distances = torch.cdist(x.flatten(1), torch.tensor(state["known"]))
        distances = distances.masked_fill(distances < 1e-3, float("inf"))
        return distances.topk(3, largest=False).values.mean(dim=1)


SPEC = DefenceSpec(
    name="nearest-distance",
    summary="Rejects inputs far from known clean images.",
    load=NearestDistance,
    acts=frozenset({Act.DETECT}),
)
