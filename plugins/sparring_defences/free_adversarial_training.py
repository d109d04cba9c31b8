"""Free adversarial training: one backward pass moves the images and the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    epsilon: float = param(0.1, "L-infinity budget trained against", above=0, unit="[0, 1] pixels")
    replays: int = param(4, "times that each batch is trained on in a row (m)", at_least=1)


class FreeAdversarialTraining:
    """Shafahi et al. 2019, algorithm 1: each batch is trained on m times; the gradient that updates the weights also
    moves the perturbation by epsilon along its sign, and the next batch starts from it. Epochs are divided by m
    (rounded up), so that it costs what natural training does."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        import torch

        epsilon, replays = self.params.epsilon, self.params.replays
        rows = recipe.batch_size + 1  # a last lone row joins the batch before
        change = torch.zeros((rows, *train.image_shape), device=ctx.device)

        def lesson(batch: Batch) -> Tensor:
            own = change[: len(batch.x)]
            for _ in range(replays):
                moved = (batch.x + own).clamp(0, 1).requires_grad_(True)
                logits = batch.update(moved)
                assert moved.grad is not None
                own.add_(epsilon * moved.grad.sign()).clamp_(-epsilon, epsilon)
            return logits

        shorter = replace(recipe, epochs=-(-recipe.epochs // replays))
        return own_fit(victim, train, shorter, ctx, lesson)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)


SPEC = DefenceSpec(
    name="free-adversarial-training",
    summary="Trains on each batch several times, moving images and weights by the same backward pass.",
    citation="Shafahi et al. 2019, Adversarial training for free!, algorithm 1; arXiv 1904.12843",
    params=Params,
    load=FreeAdversarialTraining,
    acts=frozenset({Act.OWN_FIT}),
    needs=frozenset({Access.WEIGHTS, Access.RECIPE}),
)
