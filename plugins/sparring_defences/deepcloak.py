"""DeepCloak: features that adversarial examples change the most are masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.network_parts import head_of, in_batches

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context, Finding
    from sparring.data import ArrayDataset
    from sparring.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    masked: float = param(0.05, "share of the features that are masked", at_least=0, below=1)
    epsilon: float = param(0.1, "of the FGSM examples that are compared", above=0, unit="[0, 1] pixels")


class DeepCloak:
    """Gao et al. 2017, section 2: the features before the last linear layer are compared on clean images and on their
    FGSM examples; those with the largest summed absolute change are masked, here by setting their column of the last
    layer's weights to 0, which is the same and leaves a plain network. The defender's clean rows are the images."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def repair(self, model: Model, defender_clean: ArrayDataset, finding: Finding | None, ctx: Context) -> Model:
        import torch

        from sparring.model import NetworkModel

        network = model.weights()
        head = head_of(model, defender_clean.image_shape, ctx)
        changes = self._changes(model, defender_clean, ctx)
        gone = changes.topk(round(self.params.masked * len(changes))).indices
        with torch.no_grad():
            head.weight[:, gone] = 0
        return NetworkModel(network, model.classes)

    def _changes(self, model: Model, clean: ArrayDataset, ctx: Context) -> Tensor:
        """(D,) summed absolute changes of the features."""
        import torch

        total = torch.zeros(())
        for x, y in in_batches(clean, ctx):
            attacked = (x + self.params.epsilon * model.gradient(x, y).sign()).clamp(0, 1)
            with torch.no_grad():
                total = total.to(x.device) + (model.features(attacked) - model.features(x)).abs().sum(dim=0)
        return total


SPEC = DefenceSpec(
    name="deepcloak",
    summary="Masks the features before the last layer that adversarial examples change the most.",
    citation="Gao et al. 2017, DeepCloak: masking deep neural network models for robustness against adversarial "
    "samples, section 2; arXiv 1702.06763",
    params=Params,
    randomised=False,
    load=DeepCloak,
    acts=frozenset({Act.REPAIR}),
    needs=frozenset({Access.GRADIENTS, Access.FEATURES, Access.WEIGHTS}),
)
