"""A guard and a detector in one: a blur in front of the model, and inputs of which the blurred model is unsure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, NoParams
from sparring.threat import Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Guard, Model


class BlurredDoubt:
    """The score is one minus the largest probability (Hendrycks & Gimpel 2017) of the model behind the guard."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from torch.nn import functional as F  # noqa: N812

        from sparring.model import Guard, TransformedModel

        def blurred(x: Tensor) -> Tensor:
            return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

        return Guard(TransformedModel(model, blurred, backward="exact"))

    def calibrate(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Arrays:
        return {}

    def score(self, model: Model, x: Tensor, state: Arrays, ctx: Context) -> Tensor:
        return 1 - model.probabilities(x).max(dim=1).values


SPEC = DefenceSpec(
    name="blurred-doubt",
    summary="A blur in front of the model, and a rejection of what the blurred model is unsure of.",
    citation="Hendrycks & Gimpel 2017, A baseline for detecting misclassified examples, section 2; arXiv 1610.02136",
    load=BlurredDoubt,
    acts=frozenset({Act.GUARD, Act.DETECT}),
    needs=frozenset({Access.PROBABILITIES}),
)
