"""What an attacker who knows a randomised guard sees: the mean over its randomness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparring.data import Arrays
from sparring.model import ExpectedModel, Model, NotOffered
from sparring.threat import Access


class Wavering(Model):
    """Two calls out of three say class 2, the third says class 0 and is sure of it."""

    classes = 3

    def __init__(self, offers: frozenset[Access]) -> None:
        self.offers = offers
        self._calls = 0

    def predict(self, x: Tensor) -> Tensor:
        return self._scores(x).argmax(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        if Access.SCORES not in self.offers:
            return super().scores(x)
        return self._scores(x)

    def _scores(self, x: Tensor) -> Tensor:
        self._calls += 1
        return torch.tensor([[9.0, 0.0, 0.0] if self._calls % 3 == 0 else [0.0, 0.0, 1.0]]).repeat(len(x), 1)

    def state(self) -> Arrays:
        return {}


def test_decisions_are_put_to_the_vote() -> None:
    expected = ExpectedModel(Wavering(frozenset({Access.DECISIONS})), samples=9)
    assert expected.predict(torch.zeros(4, 1, 2, 2)).tolist() == [2] * 4
    with pytest.raises(NotOffered):
        expected.scores(torch.zeros(4, 1, 2, 2))


def test_scores_are_averaged_and_decide() -> None:
    expected = ExpectedModel(Wavering(frozenset({Access.DECISIONS, Access.SCORES})), samples=9)
    assert expected.scores(torch.zeros(1, 1, 2, 2))[0].tolist() == pytest.approx([3.0, 0.0, 2 / 3])
    assert expected.predict(torch.zeros(4, 1, 2, 2)).tolist() == [0] * 4
