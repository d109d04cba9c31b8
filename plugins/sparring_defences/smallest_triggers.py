"""The smallest trigger to each class, all classes searched in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import param

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.data import ArrayDataset
    from sparring.model import Model

FIRST_WEIGHT = 1e-3
"""Of |m|_1, once a trigger works."""

EDGE = 1e-4
"""How near to 0 and 1 a random mask may start: tanh space has no room for the ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    rounds: int = param(60, "rounds of the search, of all classes at once; after each, success is counted", at_least=1)
    batches: int = param(4, "steps of Adam a round", at_least=1)
    batch_size: int = param(25, "clean images a step, each with the trigger of every class", at_least=1)
    learning_rate: float = param(0.1, "of the search", above=0)
    success: float = param(0.99, "share of a round's images that a trigger must turn", above=0, at_most=1)
    patience: int = param(5, "rounds of success, or of failure, after which the mask's weight changes", at_least=1)
    factor: float = param(1.5, "by which it grows; it falls by factor ** 1.5", above=1)


@dataclass(frozen=True)
class Triggers:
    """x (1 - m) + p m for each of K classes.

    Attributes:
        masks: m (K, 1, H, W) float32 in [0, 1].
        patterns: p (K, C, H, W) float32 in [0, 1].
        works: (K,) bool: whether the search ever saw the class's trigger succeed. If not, it is the last one tried.
    """

    masks: NDArray[Any]
    patterns: NDArray[Any]
    works: NDArray[Any]


def smallest_triggers(model: Model, clean: ArrayDataset, search: Search, ctx: Context) -> Triggers:
    """For each class the mask and the pattern that turn clean images into it, with the least |m|_1 (Wang et al. 2019,
    section IV, equations 2 and 3), among those that turned the share `success` of a round's images.

    As in the authors' code (`visualizer.py`): masks and patterns live in tanh space and start at random; Adam has
    betas 0.5 and 0.9; |m|_1 has no weight until the trigger has worked for `patience` rounds, then 0.001, which grows
    by `factor` after `patience` rounds of success and falls by factor ** 1.5 after as many of failure. Their rounds
    have 31 steps of 32 images, and there are up to a thousand of them, one class after the other.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812

    images = torch.from_numpy(clean.x.copy()).to(ctx.device)
    classes, (channels, height, width) = model.classes, clean.image_shape
    start = torch.rand((classes, channels + 1, height, width), generator=ctx.generator).clamp(EDGE, 1 - EDGE)
    free = start.logit().div(2).to(ctx.device).requires_grad_(True)  # = artanh(2 start - 1)
    optimiser = torch.optim.Adam([free], lr=search.learning_rate, betas=(0.5, 0.9))
    weight, best = _Weight(search, classes, ctx.device), _Best(free)
    batches = _batches(images, search.batch_size, ctx)
    for done in range(search.rounds):
        turned, seen = torch.zeros(classes, device=ctx.device), 0
        for _ in range(search.batches):
            shown = free.detach().clone()
            mask, pattern = _in_pixels(free)
            x = next(batches)
            logits = model.logits((x * (1 - mask[:, None]) + (pattern * mask)[:, None]).flatten(0, 1))
            wanted = torch.arange(classes, device=ctx.device).repeat_interleave(len(x))
            losses = F.cross_entropy(logits, wanted, reduction="none").view(classes, -1).mean(dim=1)
            turned += (logits.detach().argmax(dim=1) == wanted).view(classes, -1).sum(dim=1)
            seen += len(x)
            optimiser.zero_grad()
            (losses + weight.now * mask.sum(dim=(1, 2, 3))).sum().backward()
            optimiser.step()
        works = turned / seen >= search.success
        best.keep(shown, works)
        weight.adapt(works)
        ctx.progress(done + 1, search.rounds, "triggers searched")
    masks, patterns = _in_pixels(best.free)
    return Triggers(masks.cpu().numpy(), patterns.cpu().numpy(), best.size.isfinite().cpu().numpy())


def _in_pixels(free: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (K, 1, H, W) and patterns (K, C, H, W), in [0, 1]."""
    pixels = free.tanh() / 2 + 0.5
    return pixels[:, :1], pixels[:, 1:]


def _batches(images: Tensor, size: int, ctx: Context) -> Iterator[Tensor]:
    """Batches without end, each pass over the images in a new order."""
    import torch

    while True:
        order = torch.randperm(len(images), generator=ctx.generator).to(images.device)
        yield from (images[rows] for rows in order.split(size) if len(rows) == min(size, len(images)))


class _Weight:
    """The weight of each class's |m|_1."""

    def __init__(self, search: Search, classes: int, device: str) -> None:
        import torch

        self.now = torch.zeros(classes, device=device)
        self._search = search
        self._successes = torch.zeros(classes, dtype=torch.long, device=device)
        self._failures = torch.zeros(classes, dtype=torch.long, device=device)

    def adapt(self, works: Tensor) -> None:
        """After a round; works: (K,) bool."""
        patience, factor = self._search.patience, self._search.factor
        self._successes = (self._successes + 1) * works
        self._failures = (self._failures + 1) * ~works
        up, down = self._successes == patience, self._failures == patience
        first = up & (self.now == 0)
        self.now[up] *= factor
        self.now[first] = FIRST_WEIGHT
        self.now[down] /= factor**1.5
        self._successes[up] = 0
        self._failures[down] = 0


class _Best:
    """The smallest trigger so far that worked, of each class; before one did, the last."""

    def __init__(self, free: Tensor) -> None:
        import torch

        self.free = free.detach().clone()
        self.size = torch.full((len(free),), torch.inf, device=free.device)

    def keep(self, shown: Tensor, works: Tensor) -> None:
        import torch

        sizes = _in_pixels(shown)[0].sum(dim=(1, 2, 3))
        better = works & (sizes < self.size)
        self.free = torch.where((better | self.size.isinf())[:, None, None, None], shown, self.free)
        self.size = torch.where(better, sizes, self.size)
