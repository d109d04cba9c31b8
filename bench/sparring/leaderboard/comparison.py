"""How sure a cell's numbers are, and how far they are from those of its twins: the same seeds without the defence, and
without the attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sparring.leaderboard.aggregate import CLEAN, ROBUST
from sparring.leaderboard.difference import shift
from sparring.leaderboard.statistic import Trials, paired_interval
from sparring.leaderboard.table import Board, Measure, TableCell

Place = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """A number of a cell, or how much more it is than its twin's.

    Attributes:
        metric: its name.
        against: "" for the number itself, "no defence" or "no attack".
        mean, interval: with the 95 % interval: Wilson's for trials and for the images of one repetition, else Student's
            t over repetitions, of paired differences where it is a difference. `None`: not known.
    """

    metric: str
    against: str
    mean: float
    interval: tuple[float, float] | None


class Twins:
    """Finds the twins of a board's cells."""

    def __init__(self, board: Board) -> None:
        self._cells: Mapping[Place, TableCell] = {_place(cell): cell for cell in board.cells}

    def compared(self, cell: TableCell) -> list[Compared]:
        """Every number that a table shows of `cell`."""
        return [found for measure in cell.measures for found in self._of(cell, measure)]

    def _of(self, cell: TableCell, measure: Measure) -> Iterator[Compared]:
        yield Compared(measure.metric, "", measure.statistic.mean, _interval(cell, measure))
        undefended = self._cells.get((cell.dataset, cell.victim, cell.attack, "none"))
        if cell.defence != "none" and undefended is not None:
            yield from _against("no defence", undefended, measure.metric, cell, measure.metric)
        untouched = self._untouched(cell)
        if cell.attack != "none" and untouched is not None and measure.metric in (CLEAN, ROBUST):
            yield from _against("no attack", untouched, CLEAN, cell, measure.metric)

    def _untouched(self, cell: TableCell) -> TableCell | None:
        for defence in (cell.defence, cell.base, f"{cell.base}@oblivious"):
            if (found := self._cells.get((cell.dataset, cell.victim, "none", defence))) is not None:
                return found
        return None


def _against(against: str, twin: TableCell, metric: str, cell: TableCell, own: str) -> Iterator[Compared]:
    if metric in twin.metrics and own in cell.metrics and (found := shift(twin, cell, metric, own)) is not None:
        yield Compared(own, against, found.mean, found.interval)


def _place(cell: TableCell) -> Place:
    return cell.dataset, cell.victim, cell.attack, cell.defence


def _interval(cell: TableCell, measure: Measure) -> tuple[float, float] | None:
    if measure.trials is not None:
        return measure.trials.interval
    if measure.statistic.n > 1:
        return paired_interval(measure.statistic.values)
    mean, images = measure.statistic.mean, _images(cell, measure.metric)
    return Trials(round(mean * images), images).interval if images and 0 <= mean <= 1 else None


def _images(cell: TableCell, metric: str) -> int:
    """That a share of one repetition is of; 0 where that is not known."""
    scored = next((entry.scored for entry in cell.entries if entry.scored is not None), None)
    if scored is None or metric not in (CLEAN, ROBUST) or cell.goal == "backdoor":
        return 0
    if metric == ROBUST and scored.samples is not None:
        return scored.samples.count
    return sum(map(sum, scored.confusion))
