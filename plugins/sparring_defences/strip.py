"""STRIP: blended with other images, a triggered input keeps its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model

ROWS = 4096
"""Blended images that are asked at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    overlays: int = param(32, "clean images that each input is blended with; the paper's N is 100", at_least=1)
    weight: float = param(1.0, "of the clean image that is added to the input", above=0)


class Strip:
    """Gao et al. 2019, section IV: the input plus each of N clean images, clipped; the score is minus the mean over
    them of the entropy of the predicted probabilities (equation 3): a trigger wins over what is blended in, and
    leaves little doubt.

    All inputs are blended with the same clean images, drawn once, so that what is said of one does not depend on
    others. ART's `STRIP` (1.20.1) takes the entropy over the blended copies, for each class, instead of over the
    classes.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def calibrate(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Arrays:
        """`overlays` (n, C, H, W): n of the clean rows, or all where there are fewer."""
        rows = ctx.rng.permutation(len(defender_clean))[: self.params.overlays]
        return {"overlays": defender_clean.rows(rows).x}

    def score(self, model: Model, x: Tensor, state: Arrays, ctx: Context) -> Tensor:
        """(N,) minus the mean entropy in bits; at most 0."""
        import numpy as np
        import torch

        overlays = torch.from_numpy(np.array(state["overlays"])).to(x.device)
        scores = []
        for part in x.split(max(1, ROWS // len(overlays))):
            blended = (part[:, None] + self.params.weight * overlays).clamp(0, 1).flatten(0, 1)
            p = model.probabilities(blended)
            entropy = -(p * p.clamp_min(1e-12).log2()).sum(dim=1)
            scores.append(-entropy.view(len(part), -1).mean(dim=1))
            ctx.progress(sum(map(len, scores)), len(x), "images blended")
        return torch.cat(scores) if scores else x.new_zeros(0)


SPEC = DefenceSpec(
    name="strip",
    summary="Rejects inputs whose prediction stays certain when clean images are blended in.",
    citation="Gao et al. 2019, STRIP: a defence against trojan attacks on deep neural networks, section IV; "
    "arXiv 1902.06531",
    params=Params,
    load=Strip,
    acts=frozenset({Act.DETECT}),
    needs=frozenset({Access.PROBABILITIES}),
)
