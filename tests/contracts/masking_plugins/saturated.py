"""A model whose logits are far too large for the softmax behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.model import Model
from sparring.threat import Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.data import Arrays

SCALE = 1e6


class SaturatedModel(Model):
    def __init__(self, inner: Model) -> None:
        self.inner = inner
        self.offers = inner.offers - {Access.WEIGHTS}
        self.classes = inner.classes

    def predict(self, x: Tensor) -> Tensor:
        return self.inner.predict(x)

    def scores(self, x: Tensor) -> Tensor:
        return SCALE * self.inner.scores(x)

    def probabilities(self, x: Tensor) -> Tensor:
        return self.scores(x).softmax(dim=1)

    def logits(self, x: Tensor) -> Tensor:
        return SCALE * self.inner.logits(x)

    def features(self, x: Tensor) -> Tensor:
        return self.inner.features(x)

    def state(self) -> Arrays:
        return self.inner.state()
