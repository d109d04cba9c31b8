"""A generator to start from: one whose noise makes adversarial examples, which are strong poisons by themselves."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Context
from sparring.optimisation import rate_factor, set_rate
from sparring.training import Schedule
from sparring.training_loop import cut_batches, initialised
from sparring_attacks.confuse_networks import Classifier, Generator, Shape, laid_out
from sparring_attacks.confuse_noise import with_noise

# Channels, fully connected width and batch normalisation of the clean classifiers. Noise that misleads one network
# misleads others little: on MNIST's held-out training rows, victims of generators that had learnt from three of them
# got 23 % right, from five 6 %.
KINDS = (
    ((8, 16), 64, False),
    ((20, 50), 200, False),
    ((16, 32), 128, True),
    ((32, 32), 128, False),
    ((10, 20), 64, False),
)
RATE, BATCH = 1.5e-3, 128
CLASSIFIER_ROWS, CLASSIFIER_BATCH, CLASSIFIER_RATE = 30_000, 64, 1e-3


def warm_up(generator: Generator, x: Tensor, y: Tensor, classes: int, epsilon: float, steps: int, ctx: Context) -> None:
    """Train the generator until clean classifiers take x + g(x) for the class before y.

    Whoever learns the label y from features of class y - 1 takes clean images of class c for c + 1: adversarial
    examples make strong poisons (Fowl et al. 2021, arXiv 2106.10807; Nakkiran 2019). That is where algorithm 2, which
    finds it by itself in hundreds of trials, starts from here.

    Args:
        generator: trained in place; left in train mode.
        x: (N, C, H, W) clean images on the device, in [0, 1].
        y: (N,) their labels.
        classes: K.
        epsilon: largest change of a value.
        steps: of the generator; each sees 128 images and five classifiers.

    Raises:
        DeadlineExceeded: from `ctx.progress`.
    """
    shape = (x.shape[1], x.shape[2], x.shape[3])
    ensemble = [_clean_classifier(shape, classes, kind, x, y, ctx) for kind in KINDS]
    optimiser = torch.optim.Adam(generator.parameters(), lr=RATE, fused=True)
    generator.train()
    spoken = time.monotonic()
    for step in range(steps):
        set_rate(optimiser, RATE * rate_factor(Schedule.COSINE, step / steps))
        rows = torch.randint(len(y), (BATCH,), generator=ctx.generator).to(x.device)
        poisoned, wanted = with_noise(x[rows], generator, epsilon), (y[rows] - 1) % classes
        losses = [F.cross_entropy(classifier(poisoned), wanted) for classifier in ensemble]
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        optimiser.step()
        if time.monotonic() - spoken >= 1:
            spoken = time.monotonic()
            ctx.progress(step + 1, steps, f"warm-up, step {step + 1} of {steps}")


def _clean_classifier(
    shape: Shape, classes: int, kind: tuple[tuple[int, ...], int, bool], x: Tensor, y: Tensor, ctx: Context
) -> Classifier:
    """Trained in one pass over clean rows; in eval mode, frozen."""
    channels, fc, batch_norm = kind
    network = initialised(lambda: Classifier(shape, classes, channels, fc, batch_norm=batch_norm), ctx)
    assert isinstance(network, Classifier)
    classifier = laid_out(network, ctx.device)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=CLASSIFIER_RATE, fused=True)
    order = torch.randperm(len(y), generator=ctx.generator)[:CLASSIFIER_ROWS].to(x.device)
    for rows in cut_batches(order, CLASSIFIER_BATCH):
        classifier.train(len(rows) > 1)
        optimiser.zero_grad()
        F.cross_entropy(classifier(x[rows]), y[rows]).backward()
        optimiser.step()
    return classifier.eval().requires_grad_(False)
