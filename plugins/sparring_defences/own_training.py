"""The loop of defences that train the victim's network by a loss of their own: the victim's recipe, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Context, Victim
    from sparring.data import ArrayDataset
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of an epoch.

    Attributes:
        network: in training mode.
        x, y: (B, C, H, W) augmented as the recipe says, and (B,) labels.
        rows: (B,) rows of the training set.
        epoch: from 0.
        descend: one step of the optimiser down the gradient of a loss.
    """

    network: nn.Module
    x: Tensor
    y: Tensor
    rows: Tensor
    epoch: int
    descend: Callable[[Tensor], None]

    def update(self, x: Tensor) -> Tensor:
        """One step on the cross-entropy at images `x` (B, C, H, W); their logits."""
        from torch.nn import functional as F  # noqa: N812

        logits: Tensor = self.network(x)
        self.descend(F.cross_entropy(logits, self.y))
        return logits


Lesson = Callable[[Batch], "Tensor"]
"""Updates the network once or several times on a batch; returns (B, K) logits, for the training error."""


def own_fit(victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context, lesson: Lesson) -> Model:
    """The victim's own network, trained as `recipe` says, but for what `lesson` makes of each batch.

    Raises:
        ValueError: there is no image to train on, or the weights became infinite or NaN.
    """
    from sparring.model import NetworkModel

    network = untrained(victim, train, recipe, ctx)
    taught(network, train, recipe, ctx, lesson)
    return NetworkModel(network, train.classes)


def untrained(victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> nn.Module:
    """The victim's network with fresh weights: its own fit, of no epoch."""
    from dataclasses import replace

    network: nn.Module = victim.fit(train, replace(recipe, epochs=0), ctx).weights()
    return network.requires_grad_(True)


def taught(network: nn.Module, train: ArrayDataset, recipe: Recipe, ctx: Context, lesson: Lesson) -> None:
    """Train `network` in place; it ends in eval mode. All randomness comes from `ctx.generator`."""
    import numpy as np
    import torch

    from sparring.augmentation import augment
    from sparring.model import untouched_randomness
    from sparring.optimisation import make_optimiser, rate_factor, set_rate
    from sparring.training_loop import cut_batches, unit_floats

    pixels = torch.from_numpy(np.array(train.pixels)).to(ctx.device)
    labels = torch.from_numpy(np.array(train.y)).to(ctx.device)
    optimiser = make_optimiser([p for p in network.parameters() if p.requires_grad], recipe)

    def descend(loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    with untouched_randomness():
        for epoch in range(recipe.epochs):
            torch.manual_seed(int(torch.randint(2**62, (), generator=ctx.generator)))  # for dropout and the like
            order = torch.randperm(len(labels), generator=ctx.generator).to(ctx.device)
            batches, wrong = cut_batches(order, recipe.batch_size), 0
            for i, rows in enumerate(batches):
                done = (epoch + i / len(batches)) / recipe.epochs
                set_rate(optimiser, recipe.learning_rate * rate_factor(recipe.schedule, done))
                network.train(len(rows) > 1)  # a lone image has no batch statistics
                y = labels[rows]
                x = augment(unit_floats(pixels[rows]), recipe.augmentation, ctx.generator)
                logits = lesson(Batch(network, x, y, rows, epoch, descend))
                wrong += int((logits.argmax(dim=1) != y).sum())
                ctx.progress(epoch * len(batches) + i + 1, recipe.epochs * len(batches), f"epoch {epoch + 1}")
            if not all(bool(p.isfinite().all()) for p in network.parameters()):
                raise ValueError(
                    f"the weights are not finite after epoch {epoch + 1}; a smaller learning rate may help"
                )
            error = wrong / len(labels)
            ctx.curve("training error", epoch + 1, error)
            if recipe.stop_at_error is not None and error <= recipe.stop_at_error:
                break
    network.eval().requires_grad_(False)
