"""Neural Cleanse: the smallest trigger to each class, the class whose trigger is too small, and how to unlearn it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sparring.contracts import Context, Finding
    from sparring.data import ArrayDataset
    from sparring.model import Model

CONSISTENT = 1.4826
"""Times the median absolute deviation is the standard deviation of a normal distribution."""

MEMORY = 0.9
"""What a batch counts less for with every later one: success is that of the last ten batches or so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(250, "steps of Adam, of all classes at once", at_least=1)
    batch_size: int = param(32, "clean images a step, each with the trigger of every class", at_least=1)
    learning_rate: float = param(0.2, "of the search", above=0)
    success: float = param(0.99, "share of images that a trigger must turn", above=0, at_most=1)
    threshold: float = param(2.0, "anomaly index from which a class is accused", above=0)
    epochs: int = param(10, "passes over the clean rows while unlearning", at_least=1)
    marked: float = param(0.5, "share of the clean rows that carry the trigger while unlearning", above=0, at_most=1)


class NeuralCleanse:
    """Wang et al. 2019. For each class the mask m and pattern p that turn clean images into it, x (1 - m) + p m, with
    the least |m|_1 (section IV.B, equation 3); the weight of |m|_1 rises while the trigger works and falls while it
    does not (section V.B). A class whose |m|_1 lies more than two deviations below the median is accused (section
    IV.C, deviations by the median absolute deviation). Unlearning trains on clean rows, some with the trigger of an
    accused class, all with their own labels (section VI.B).

    All classes are searched in one batch. The paper unlearns with one epoch over a tenth of the training set, a fifth
    of it marked; the clean rows here are fewer, so that both defaults are larger.

    The threshold is the paper's, and the sizes of clean classes may differ enough to pass it: those of one clean small
    network of MNIST lay between 43 and 83 pixels, the smallest 2.9 deviations below the median. A
    board needs cells without an attack beside the others to show how often that happens.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def inspect(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Finding:
        """`arrays`: `masks` (K, 1, H, W) and `patterns` (K, C, H, W) in [0, 1], `norms` (K,) and `index` (K,)."""
        import numpy as np

        from sparring.contracts import Finding

        masks, patterns = self._triggers(model, defender_clean, ctx)
        norms = masks.sum(axis=(1, 2, 3), dtype=np.float64)
        index = anomaly_index(norms)
        order = np.argsort(-index, kind="stable")
        accused = tuple(int(label) for label in order if index[label] > self.params.threshold)
        arrays = {"masks": masks, "patterns": patterns, "norms": norms, "index": index}
        return Finding(bool(accused), float(index.max()), accused, arrays)

    def _triggers(self, model: Model, clean: ArrayDataset, ctx: Context) -> tuple[NDArray[Any], NDArray[Any]]:
        """The smallest masks that turn enough images, and their patterns; where none did, the last ones."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        p, classes, x = self.params, model.classes, torch.from_numpy(clean.x.copy()).to(ctx.device)
        channels, height, width = clean.image_shape
        free = torch.rand((classes, channels + 1, height, width), generator=ctx.generator).sub(0.5).to(ctx.device)
        free[:, 0] -= 2.0  # small masks, so that the search begins near the clean image
        free.requires_grad_(True)
        optimiser = torch.optim.Adam([free], lr=p.learning_rate, betas=(0.5, 0.9))
        weight = _Weight(classes, p.success, ctx.device)
        labels = torch.arange(classes, device=ctx.device)
        best = _Best(free)
        for step in range(p.steps):
            rows = torch.randint(len(x), (p.batch_size,), generator=ctx.generator).to(ctx.device)
            mask, pattern = free[:, :1].sigmoid(), free[:, 1:].sigmoid()
            logits = model.logits(_marked(x[rows], mask, pattern))
            wanted = labels.repeat_interleave(len(rows))
            losses = F.cross_entropy(logits, wanted, reduction="none").view(classes, -1).mean(dim=1)
            sizes = mask.sum(dim=(1, 2, 3))
            turned = (logits.argmax(dim=1) == wanted).view(classes, -1).float().mean(dim=1)
            best.keep(free, sizes, weight.adapt(turned))
            optimiser.zero_grad()
            (losses + weight.now * sizes).sum().backward()
            optimiser.step()
            ctx.progress(step + 1, p.steps, "triggers searched")
        found = best.found(free).sigmoid()
        return found[:, :1].cpu().numpy(), found[:, 1:].cpu().numpy()

    def repair(self, model: Model, defender_clean: ArrayDataset, finding: Finding | None, ctx: Context) -> Model:
        import numpy as np

        from sparring.data import ArrayDataset
        from sparring.model import NetworkModel
        from sparring.training import Recipe
        from sparring.training_loop import train

        if finding is None or not finding.accused:
            return model
        x = defender_clean.x.copy()
        chosen = ctx.rng.permutation(len(x))[: max(1, round(self.params.marked * len(x)))]
        label = np.asarray(finding.labels)[np.arange(len(chosen)) % len(finding.labels)]
        mask, pattern = finding.arrays["masks"][label], finding.arrays["patterns"][label]
        x[chosen] = x[chosen] * (1 - mask) + pattern * mask
        lesson = ArrayDataset(x.clip(0, 1).astype(np.float32), defender_clean.y, defender_clean.class_names)
        recipe = Recipe(learning_rate=1e-3, epochs=self.params.epochs, batch_size=32)
        return NetworkModel(train(model.weights().requires_grad_(True), lesson, recipe, ctx), model.classes)


def anomaly_index(norms: NDArray[Any]) -> NDArray[Any]:
    """(K,) how many deviations each of (K,) trigger sizes lies below their median; 0 above it."""
    import numpy as np

    below = np.median(norms) - norms
    deviation = CONSISTENT * np.median(np.abs(below))
    return np.asarray(np.maximum(below, 0)) / max(float(deviation), 1e-6 * max(1.0, float(np.median(norms))))


def _marked(x: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """(K * N, C, H, W): all images with the first trigger, then all with the second, ..."""
    return (x[None] * (1 - mask[:, None]) + (pattern * mask)[:, None]).flatten(0, 1)


class _Weight:
    """The weight of each class's |m|_1: 0 until its trigger works, then 0.001; it grows by a half in five steps of
    success, and falls by 1.5^1.5 in five of failure, as in the authors' code (`Visualizer`, with patience 5).

    They count success over about 1,000 images a step. Here it is a running mean over batches: of one batch of 32,
    99 % are all images, so that few classes would ever have five successes in a row, and masks would hardly shrink.
    """

    def __init__(self, classes: int, success: float, device: str) -> None:
        import torch

        self.now = torch.zeros(classes, device=device)
        self._success = success
        self._sum = torch.zeros(classes, device=device)
        self._count = 0.0

    def adapt(self, turned: Tensor) -> Tensor:
        """(K,) bool, whether the triggers work, by the (K,) shares of the last batches that they turned."""
        import torch

        self._sum, self._count = MEMORY * self._sum + turned, MEMORY * self._count + 1
        works: Tensor = self._sum / self._count >= self._success
        self.now = self.now * torch.where(works, 1.5**0.2, 1.5**-0.3)
        self.now[works & (self.now == 0)] = 1e-3
        return works


class _Best:
    """The smallest trigger so far that worked, of each class."""

    def __init__(self, free: Tensor) -> None:
        import torch

        self._free = free.detach().clone()
        self._size = torch.full((len(free),), torch.inf, device=free.device)

    def keep(self, free: Tensor, sizes: Tensor, works: Tensor) -> None:
        better = works & (sizes.detach() < self._size)
        self._free[better] = free.detach()[better]
        self._size[better] = sizes.detach()[better]

    def found(self, last: Tensor) -> Tensor:
        import torch

        return torch.where(self._size.isfinite()[:, None, None, None], self._free, last.detach())


SPEC = DefenceSpec(
    name="neural-cleanse",
    summary="Reconstructs the smallest trigger to each class, accuses a class whose trigger is too small, unlearns it.",
    citation="Wang et al. 2019, Neural Cleanse: identifying and mitigating backdoor attacks in neural networks, "
    "IEEE S&P, sections IV to VI",
    params=Params,
    load=NeuralCleanse,
    acts=frozenset({Act.INSPECT, Act.REPAIR}),
    needs=frozenset({Access.GRADIENTS, Access.WEIGHTS}),
)
