"""Feature squeezing as a detector: how far squeezing an input moves the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.feature_squeezing import median, reduced

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    bit_depth: int = param(1, "bits per value that are kept; 1 for MNIST, 4 to 5 for colour", at_least=1, at_most=8)
    window: int = param(2, "side of the median's window", at_least=1, unit="pixels")


class FeatureSqueezingDetector:
    """Xu et al. 2018, section V.A: the score is the largest L1 distance, over the squeezers, between the
    probabilities of the image and of its squeezed copy (joint detection); one squeezer reduces the bit depth, one
    takes medians. Defaults are the paper's best for MNIST (table IV)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def calibrate(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Arrays:
        """Nothing is learnt: the harness sets the threshold."""
        return {}

    def score(self, model: Model, x: Tensor, state: Arrays, ctx: Context) -> Tensor:
        """(N,) in [0, 2]."""
        import torch

        scores = []
        for part in x.split(512):
            plain = model.probabilities(part)
            squeezed = (reduced(part, self.params.bit_depth), median(part, self.params.window))
            moved = [(model.probabilities(images) - plain).abs().sum(dim=1) for images in squeezed]
            scores.append(torch.stack(moved).amax(dim=0))
            ctx.progress(sum(map(len, scores)), len(x), "images scored")
        return torch.cat(scores) if scores else x.new_zeros(0)


SPEC = DefenceSpec(
    name="feature-squeezing-detector",
    summary="Rejects inputs whose prediction moves far when grey levels are reduced or a median is taken.",
    citation="Xu, Evans, Qi 2018, Feature squeezing, section V; arXiv 1704.01155",
    params=Params,
    randomised=False,
    load=FeatureSqueezingDetector,
    acts=frozenset({Act.DETECT}),
    needs=frozenset({Access.PROBABILITIES}),
)
