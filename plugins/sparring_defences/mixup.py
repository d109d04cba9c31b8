"""Mixup: training on blends of two images and of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.own_training import Batch, own_fit

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context, Victim
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    alpha: float = param(0.4, "of the beta distribution of the blend; larger: more even blends", above=0)


class Mixup:
    """Zhang et al. 2018, section 2: the batch and a shuffled copy of it, blended with one weight drawn from Beta(alpha,
    alpha); the loss is the blend of the losses at both labels."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        import torch
        from torch.nn import functional as F  # noqa: N812

        def lesson(batch: Batch) -> Tensor:
            share = float(ctx.rng.beta(self.params.alpha, self.params.alpha))
            other = torch.randperm(len(batch.y), generator=ctx.generator).to(batch.y.device)
            logits: Tensor = batch.network(share * batch.x + (1 - share) * batch.x[other])
            own, others = F.cross_entropy(logits, batch.y), F.cross_entropy(logits, batch.y[other])
            batch.descend(share * own + (1 - share) * others)
            return logits

        return own_fit(victim, train, recipe, ctx, lesson)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)


SPEC = DefenceSpec(
    name="mixup",
    summary="Trains on blends of two images and of their labels.",
    citation="Zhang, Cisse, Dauphin, Lopez-Paz 2018, mixup: beyond empirical risk minimization, section 2; arXiv "
    "1710.09412",
    params=Params,
    load=Mixup,
    acts=frozenset({Act.OWN_FIT}),
    needs=frozenset({Access.WEIGHTS, Access.RECIPE}),
)
