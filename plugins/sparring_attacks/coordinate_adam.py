"""ADAM for many small problems at once, each of which may step along a few of its coordinates only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-8
"""Keeps a coordinate without a gradient from dividing 0 by 0."""


@dataclass(frozen=True)
class AdamRates:
    """Learning rate, the decays of both moments, and how the second one divides.

    With `monotone` it is the largest so far, and nothing is corrected for bias (AMSGrad, as in ZO-AdaMM: Chen et al.
    2019, algorithm 1); else both moments are corrected (Kingma & Ba 2015, algorithm 1).
    """

    rate: float
    first: float = 0.9
    second: float = 0.999
    monotone: bool = False


class CoordinateAdam:
    """Moments and step counts of N problems with D coordinates each (Chen et al. 2017, ZOO, algorithm 2).

    Args:
        like: (N, D), for size and device.
        rates: the same for all problems.
    """

    def __init__(self, like: Tensor, rates: AdamRates) -> None:
        import torch

        self.rates = rates
        self._mean, self._square, self._largest, self._steps = (torch.zeros_like(like) for _ in range(4))

    def step(self, rows: Tensor, coordinates: Tensor, gradient: Tensor) -> Tensor:
        """(M, B) what is taken from B coordinates of M problems.

        Args:
            rows: (M,) problems.
            coordinates: (M, B), or (1, B) for the same in all problems; distinct in each problem.
            gradient: (M, B) partial derivatives.
        """
        rates, at = self.rates, (rows[:, None], coordinates)
        self._steps[at] += 1
        self._mean[at] = mean = rates.first * self._mean[at] + (1 - rates.first) * gradient
        self._square[at] = square = rates.second * self._square[at] + (1 - rates.second) * gradient**2
        if rates.monotone:
            self._largest[at] = largest = self._largest[at].maximum(square)
            return rates.rate * mean / (largest.sqrt() + TINY)
        mean = mean / (1 - rates.first ** self._steps[at])
        square = square / (1 - rates.second ** self._steps[at])
        return rates.rate * mean / (square.sqrt() + TINY)

    def forget(self, rows: Tensor) -> None:
        """Begin anew for some of the problems."""
        for state in (self._mean, self._square, self._largest, self._steps):
            state[rows] = 0
