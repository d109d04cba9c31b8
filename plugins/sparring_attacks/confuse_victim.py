"""The imaginary victim of one trial: a classifier trained from scratch on what the generator makes of some rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.training_loop import cut_batches, initialised
from sparring_attacks.confuse_networks import Classifier, Shape, laid_out
from sparring_attacks.confuse_settings import Settings

EVALUATED = 500  # images per forward pass where nothing is learnt


class Rows(NamedTuple):
    """Labelled images on the device: clean, and as the generator of the trial poisons them."""

    clean: Tensor
    poisoned: Tensor
    y: Tensor


class Scores(NamedTuple):
    """How a victim does on held-out clean rows: the share that it gets right, the share that it takes for y + 1 mod K,
    and the share of the same rows that it gets right once they are poisoned."""

    clean: float
    shifted: float
    poisoned: float


class ImaginaryVictim:
    """A new classifier and the rows it learns from. The noise of the trial is made once and kept.

    Args:
        pool: rows that it is trained on.
        shape, classes: of the images.
    """

    def __init__(self, pool: Rows, shape: Shape, classes: int, settings: Settings, ctx: Context) -> None:
        self.pool = pool
        self.classes = classes
        self.settings = settings
        self.ctx = ctx

        def build() -> Classifier:
            return Classifier(shape, classes, settings.channels, settings.fc, batch_norm=settings.batch_norm)

        self.steps = steps_of_a_trial(len(pool.y), settings)
        network = initialised(build, ctx)
        assert isinstance(network, Classifier)
        self.classifier = laid_out(network, ctx.device).train()
        self.weights = dict(self.classifier.named_parameters())
        self.optimiser = torch.optim.SGD(
            self.weights.values(), lr=settings.classifier_rate, momentum=settings.momentum, fused=True
        )

    def batches(self) -> Iterator[Tensor]:
        """Row numbers of the pool, shuffled anew for every pass."""
        count, size = len(self.pool.y), self.settings.batch_size
        left = self.steps
        while left > 0:
            order = torch.randperm(count, generator=self.ctx.generator).to(self.ctx.device)
            passed = cut_batches(order, size)[:left]
            yield from passed
            left -= len(passed)

    def learn(self, rows: Tensor) -> None:
        """One step of SGD on poisoned rows (algorithm 2, lines 12 and 13)."""
        loss = F.cross_entropy(self.classifier(self.pool.poisoned[rows]), self.pool.y[rows])
        slopes = torch.autograd.grad(loss, tuple(self.weights.values()))
        for weight, slope in zip(self.weights.values(), slopes, strict=True):
            weight.grad = slope
        self.optimiser.step()

    def weights_copied(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def scores(self, held_out: Rows) -> Scores:
        """How it does in eval mode."""
        self.classifier.eval()
        clean = _answers(self.classifier, held_out.clean)
        poisoned = _answers(self.classifier, held_out.poisoned)
        self.classifier.train()
        return Scores(
            clean=_share(clean == held_out.y),
            shifted=_share(clean == (held_out.y + 1) % self.classes),
            poisoned=_share(poisoned == held_out.y),
        )


def steps_of_a_trial(rows: int, settings: Settings) -> int:
    """Steps of the classifier: `passes` over a pool of `rows` rows, at least one."""
    return max(1, math.ceil(settings.passes * rows / settings.batch_size))


def _answers(classifier: Classifier, x: Tensor) -> Tensor:
    return torch.cat([classifier(part).argmax(dim=1) for part in x.split(EVALUATED)])


def _share(hits: Tensor) -> float:
    return float(hits.float().mean())
