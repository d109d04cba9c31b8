"""A sparse autoencoder of one hidden layer, for what its encoder learns."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.optimisation import make_optimiser, rate_factor, set_rate
from sparring.training import Recipe
from sparring.training_loop import TrainingDiverged, cut_batches, initialised, unit_floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalties:
    """What is asked of the autoencoder beside a small error.

    Attributes:
        sparsity: mean activation that every hidden unit is driven to, in (0, 1).
        divergence: weight of the divergence of the mean activations from it.
        decay: weight of half the squared connection weights.
    """

    sparsity: float
    divergence: float
    decay: float


def fit_encoder(encoder: nn.Linear, data: ArrayDataset, penalties: Penalties, recipe: Recipe, ctx: Context) -> None:
    """Train `encoder`, a sigmoid behind it, in place: with a decoder of the same kind, which is then forgotten, it
    reproduces the images (Ng 2011, Sparse autoencoder, CS294A lecture notes, section 3).

    The mean activations are those of a batch, where the notes take the whole training set.

    Args:
        encoder: from flat images to hidden units.
        data: the images; labels are not looked at.
        recipe: optimiser, learning rate, schedule, epochs, batch size.
        ctx: initialisation and order of the images come from `ctx.generator`.

    Raises:
        ValueError: there is no image.
        TrainingDiverged: the loss is not finite after an epoch.
        DeadlineExceeded: from `ctx.progress`.
    """
    if len(data) == 0:
        raise ValueError("no images to train on: the training set is empty")
    decoder = initialised(lambda: nn.Linear(encoder.out_features, encoder.in_features), ctx)
    assert isinstance(decoder, nn.Linear)
    pixels = torch.from_numpy(np.array(data.pixels)).to(ctx.device)
    optimiser = make_optimiser([*encoder.parameters(), *decoder.parameters()], recipe)
    spoken = time.monotonic()
    for epoch in range(recipe.epochs):
        batches = cut_batches(torch.randperm(len(pixels), generator=ctx.generator), recipe.batch_size)
        total = recipe.epochs * len(batches)
        for step, rows in enumerate(batches, start=epoch * len(batches)):
            set_rate(optimiser, recipe.learning_rate * rate_factor(recipe.schedule, step / total))
            x = unit_floats(pixels.index_select(0, rows.to(ctx.device))).flatten(1)
            loss = _loss(encoder, decoder, x, penalties)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if time.monotonic() - spoken > 1.0:
                ctx.progress(step + 1, total, "steps of the autoencoder")
                spoken = time.monotonic()
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"the autoencoder's loss is not finite in epoch {epoch + 1} of {recipe.epochs}; "
                f"a smaller learning rate than {recipe.learning_rate:g} may help"
            )
        ctx.progress((epoch + 1) * len(batches), total, f"epoch {epoch + 1} of {recipe.epochs} of the autoencoder")


def _loss(encoder: nn.Linear, decoder: nn.Linear, x: Tensor, penalties: Penalties) -> Tensor:
    hidden = encoder(x).sigmoid()
    error = (decoder(hidden).sigmoid() - x).square().sum(dim=1).mean() / 2
    decay = (encoder.weight.square().sum() + decoder.weight.square().sum()) / 2
    sparse = divergence(hidden.mean(dim=0), penalties.sparsity)
    loss: Tensor = error + penalties.decay * decay + penalties.divergence * sparse
    return loss


def divergence(means: Tensor, sparsity: float) -> Tensor:
    """Sum over units of the Kullback-Leibler divergence between coins that fall with probability `sparsity` and
    `means` (D,)."""
    means = means.clamp(1e-6, 1 - 1e-6)  # a saturated sigmoid is exactly 0 or 1
    lit = sparsity * (sparsity / means).log()
    dark = (1 - sparsity) * ((1 - sparsity) / (1 - means)).log()
    return torch.sum(lit + dark)
