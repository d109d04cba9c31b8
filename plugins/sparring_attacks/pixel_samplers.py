"""What proposes the next points of a search: CMA-ES, or uniform draws as its control."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(P, D) points of the unit cube."""


class Sampler(Protocol):
    """Asked and told in turns; what it proposes depends on its generator and on what it was told, on nothing else."""

    def ask(self) -> Points:
        """The next population."""
        ...

    def tell(self, fitness: NDArray[np.float64]) -> None:
        """(P,) how good the points of the last `ask` are; higher is better."""
        ...

    def centre(self) -> Points:
        """(0 or 1, D): the point that the search stands for as a whole, where there is one."""
        ...


MakeSampler = Callable[[int, int, np.random.Generator], Sampler]
"""(dimensions, population, generator) to a fresh sampler."""


class UniformSampler:
    """Random search: every point is drawn uniformly, whatever was told."""

    def __init__(self, dimensions: int, population: int, rng: np.random.Generator) -> None:
        self._shape, self._rng = (population, dimensions), rng

    def ask(self) -> Points:
        return self._rng.random(self._shape)

    def tell(self, fitness: NDArray[np.float64]) -> None:
        """Nothing is learnt."""

    def centre(self) -> Points:
        return np.empty((0, self._shape[1]))


class CmaSampler:
    """CMA-ES (Hansen 2016, The CMA evolution strategy: a tutorial, arXiv 1604.00772) on the whole space, folded into
    the unit cube by reflection at its sides.

    The covariance stays diagonal (Ros & Hansen 2008, A simple modification in CMA-ES): a full one of 3K numbers is not
    learnt in the generations that a search can afford. The first `scouts` populations are uniform; the best of their
    points is where the evolution starts, with steps of `sigma` times a width for each equal part of the dimensions.
    """

    def __init__(
        self,
        dimensions: int,
        population: int,
        rng: np.random.Generator,
        *,
        sigma: float,
        widths: tuple[float, ...],
        scouts: int,
    ) -> None:
        self._uniform = UniformSampler(dimensions, population, rng)
        self._population, self._rng, self._sigma, self._scouts = population, rng, sigma, scouts
        self._widths = np.repeat(widths, dimensions // len(widths))
        self._best = (-np.inf, np.full(dimensions, 0.5))
        self._asked = self._best[1][None]
        self._evolution = None if scouts else self._started()

    def ask(self) -> Points:
        if self._evolution is None:
            self._asked = self._uniform.ask()
            return self._asked
        self._asked = np.array(self._evolution.ask())
        return reflected(self._asked)

    def tell(self, fitness: NDArray[np.float64]) -> None:
        if self._evolution is not None:
            self._evolution.tell(list(self._asked), list(-fitness))
            return
        best = int(fitness.argmax())
        if fitness[best] > self._best[0]:
            self._best = (float(fitness[best]), self._asked[best])
        self._scouts -= 1
        if self._scouts == 0:
            self._evolution = self._started()

    def centre(self) -> Points:
        mean = self._best[1] if self._evolution is None else self._evolution.mean
        return reflected(np.array(mean))[None]

    def _started(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no matplotlib
            import cma
        options = {
            "popsize": self._population,
            "randn": lambda *shape: self._rng.standard_normal(shape),
            "CMA_diagonal": True,
            "CMA_stds": self._widths,
            "seed": np.nan,  # leaves numpy's global generator alone
            "verbose": -9,
        }
        return cma.CMAEvolutionStrategy(self._best[1], self._sigma, options)


def reflected(points: Points) -> Points:
    """Fold real numbers into [0, 1]: a triangle wave of period 2."""
    folded: Points = 1 - np.abs(np.mod(points, 2) - 1)
    return folded
