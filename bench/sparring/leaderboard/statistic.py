"""Mean, deviation, and the interval of a proportion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NORMAL_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """A number over repetitions: (n,) values in order of repetition, n ≥ 1."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / self.n

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof = 1); `None` for a single value."""
        if self.n < 2:
            return None
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / (self.n - 1))


@dataclass(frozen=True, slots=True)
class Trials:
    """`succeeded` of `all` trials, with the 95 % interval of Wilson (1927) for the rate."""

    succeeded: int
    all: int

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high), within [0, 1]; (0, 1) without trials."""
        if self.all == 0:
            return 0.0, 1.0
        n, rate, z2 = self.all, self.succeeded / self.all, NORMAL_95**2
        middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
        half = NORMAL_95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
        low = 0.0 if self.succeeded == 0 else max(0.0, middle - half)
        high = 1.0 if self.succeeded == self.all else min(1.0, middle + half)
        return low, high


def paired_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """(low, high): the 95 % interval of Student's t for the mean of (n,) paired differences; `None` for n < 2."""
    found = Statistic(tuple(differences))
    if found.std is None:
        return None
    half = t_quantile(found.n - 1) * found.std / math.sqrt(found.n)
    return found.mean - half, found.mean + half


def t_quantile(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t with `degrees` >= 1 of freedom, to four digits.

    Beyond the table by Fisher's expansion (Abramowitz & Stegun 1964, 26.7.5, two terms).
    """
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    z, n = NORMAL_95, degrees
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / n + second / n**2


_T_95 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def pooled(trials: Sequence[Sequence[int]]) -> Trials:
    """The trials of all repetitions together; each is [succeeded, all]."""
    return Trials(sum(k for k, _ in trials), sum(n for _, n in trials))
