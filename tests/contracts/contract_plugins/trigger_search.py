"""Looks for a small patch that sends everything to one class; unlearns it where it finds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context, Finding
    from sparring.data import ArrayDataset
    from sparring.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(80, "steps of Adam per class", at_least=1)
    weight: float = param(0.1, "of the mask's size in the loss", above=0)
    threshold: float = param(2.0, "anomaly index from which the model is accused", above=0)
    epochs: int = param(10, "passes over the clean rows while unlearning", at_least=1)


class TriggerSearch:
    """For each class the smallest mask and pattern that turn clean images into it; a class whose mask is an outlier
    (median absolute deviation) is accused (Wang et al. 2019, sections 4 and 5). Unlearning trains on clean rows, half
    of them with the pattern on, all with their true labels (section 6.2)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def inspect(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Finding:
        import numpy as np
        import torch

        from sparring.contracts import Finding

        x = torch.tensor(defender_clean.x)
        found = [self._smallest(model, x, label) for label in range(defender_clean.classes)]
        sizes = np.array([float(mask.sum()) for mask, _ in found])
        spread = 1.4826 * np.median(np.abs(sizes - np.median(sizes)))
        suspect = int(sizes.argmin())
        index = float((np.median(sizes) - sizes[suspect]) / spread)
        mask, pattern = found[suspect]
        arrays = {"mask": mask.numpy(), "pattern": pattern.numpy()}
        accused = index > self.params.threshold
        return Finding(accused, index, (suspect,) if accused else (), arrays)

    def _smallest(self, model: Model, x: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """(mask, pattern), each (C, H, W) in [0, 1]."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        free = torch.stack([torch.full(x.shape[1:], -1.0), torch.zeros(x.shape[1:])]).requires_grad_(True)
        optimiser = torch.optim.Adam([free], lr=0.2)
        goal = torch.full((len(x),), label)
        for _ in range(self.params.steps):
            mask, pattern = free.sigmoid()
            logits = model.logits(x * (1 - mask) + pattern * mask)
            loss = F.cross_entropy(logits, goal) + self.params.weight * mask.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        mask, pattern = free.detach().sigmoid()
        return mask, pattern

    def repair(self, model: Model, defender_clean: ArrayDataset, finding: Finding | None, ctx: Context) -> Model:
        import numpy as np
        import torch

        from sparring.data import ArrayDataset
        from sparring.model import NetworkModel
        from sparring.training import Recipe
        from sparring.training_loop import train

        if finding is None or not finding.accused:
            return model
        mask, pattern = finding.arrays["mask"], finding.arrays["pattern"]
        marked = (defender_clean.x * (1 - mask) + pattern * mask).astype(np.float32)
        lesson = ArrayDataset(
            np.concatenate([defender_clean.x, marked]), np.tile(defender_clean.y, 2), defender_clean.class_names
        )
        network: torch.nn.Module = model.weights().requires_grad_(True)
        recipe = Recipe(learning_rate=2e-3, epochs=self.params.epochs, batch_size=32)
        return NetworkModel(train(network, lesson, recipe, ctx), model.classes)


SPEC = DefenceSpec(
    name="trigger-search",
    summary="Reconstructs the trigger of a backdoor from the model, and unlearns it.",
    citation="Wang et al. 2019, Neural cleanse, IEEE S&P",
    params=Params,
    load=TriggerSearch,
    acts=frozenset({Act.INSPECT, Act.REPAIR}),
    needs=frozenset({Access.GRADIENTS, Access.WEIGHTS}),
)
