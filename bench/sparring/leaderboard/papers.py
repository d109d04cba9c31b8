"""A paper's tables beside ours: the paper's number, our mean ± deviation, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sparring.exclusion import fits_label
from sparring.leaderboard.statistic import Statistic, Trials, pooled
from sparring.leaderboard.table import Table, TableCell

ROUNDING: Final = 0.5
"""Percentage points within which numbers agree whatever their deviations are: papers print few digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperValue:
    """One number of a paper, as printed, and the cells of the board that it is compared with.

    Attributes:
        dataset, victim, attack, defence: patterns; without parameters, they fit a plugin whatever its parameters are.
        value, std: mean and deviation; `std` is `None` where the paper prints none.
        name: what the paper calls it; "": the attack's label.
        note: on this row alone; what it waits for, say.
    """

    dataset: str
    victim: str
    attack: str
    defence: str
    value: float
    std: float | None = None
    name: str = ""
    note: str = ""

    def fits(self, cell: TableCell) -> bool:
        pairs = (
            (self.dataset, cell.dataset),
            (self.victim, cell.victim),
            (self.attack, cell.attack),
            (self.defence, cell.defence),
        )
        return all(fits_label(p, label) for p, label in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        source: "Chaudhury 2020, table 1".
        metric: the one of ours that it is about.
        error: whether the paper prints 1 - metric.
        reading: how we read what the paper leaves open.
    """

    source: str
    metric: str
    error: bool
    reading: str
    values: tuple[PaperValue, ...]


class Agreement(StrEnum):
    YES = "yes"
    HIGHER = "no, ours is higher"
    LOWER = "no, ours is lower"
    OPEN = "not measured"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line. `ours` is in percent, turned round where the paper prints errors, or in the metric's own unit; `None`:
    there is no number yet.

    Attributes:
        cell: what of ours it is compared with; `None`: the board has no such cell.
        trials: of targeted attacks, all repetitions together; their rate is compared.
    """

    value: PaperValue
    cell: TableCell | None
    ours: Statistic | None
    trials: Trials | None = None
    percentage: bool = True

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in percentage points or the metric's unit."""
        return None if self.ours is None else self.ours.mean - self.value.value

    @property
    def agreement(self) -> Agreement:
        """Yes where mean ± deviation of both meet, or percentages are within `ROUNDING`; of trials, where the paper's
        number lies in the 95 % interval."""
        if self.ours is None or self.difference is None:
            return Agreement.OPEN
        if self.trials is not None:
            low, high = self.trials.interval
            agrees = 100 * low <= self.value.value <= 100 * high
        else:
            rounding = ROUNDING if self.percentage else 0.0
            agrees = abs(self.difference) <= max(rounding, (self.ours.std or 0.0) + (self.value.std or 0.0))
        if agrees:
            return Agreement.YES
        return Agreement.HIGHER if self.difference > 0 else Agreement.LOWER


@dataclass(frozen=True, slots=True)
class PaperComparison:
    """A paper's table with our numbers."""

    table: PaperTable
    lines: tuple[Comparison, ...]


def beside_papers(
    papers: Sequence[PaperTable], tables: Iterable[Table], units: Mapping[str, str]
) -> tuple[PaperComparison, ...]:
    """Every value of every paper's table; one line for each cell that it is compared with, one where there is none.

    Args:
        units: of metrics; what has none there is a fraction, as "%" is.
    """
    cells = [cell for table in tables for cell in table.distinct]
    return tuple(
        PaperComparison(
            paper,
            tuple(
                line
                for value in paper.values
                for line in _lines(paper, value, cells, units.get(paper.metric, "%") == "%")
            ),
        )
        for paper in papers
    )


def _lines(paper: PaperTable, value: PaperValue, cells: Sequence[TableCell], percentage: bool) -> Iterator[Comparison]:
    fitting = [cell for cell in cells if value.fits(cell)]
    if not fitting:
        yield Comparison(value, None, None)
    for cell in fitting:
        found = cell.metrics.get(paper.metric)
        if found is None:
            yield Comparison(value, cell, None, percentage=percentage)
            continue
        told = [entry.scored.trials for entry in cell.entries if entry.scored is not None and entry.scored.trials]
        scale = 100 if percentage else 1
        ours = Statistic(tuple(scale * (1 - v if paper.error else v) for v in found.values))
        trials = pooled(told) if told and paper.metric == "asr" else None
        yield Comparison(value, cell, ours, trials, percentage)
