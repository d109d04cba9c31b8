"""What changed between two states of a board, and whether it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sparring.leaderboard.statistic import NORMAL_95, Statistic, paired_interval
from sparring.leaderboard.table import Board, Entry, TableCell

Place = tuple[str, str, str, str]
"""Labels of data set, victim, attack and defence."""

EXACT: Final = 1e-12
"""Numbers that are closer are the same."""


class Change(StrEnum):
    """What became of a cell's number; better and worse are the defender's."""

    NEW = "new"
    LOST = "lost"
    WORSE = "worse"
    BETTER = "better"
    NOISE = "within noise"
    SAME = "as it was"


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of one cell, before and after.

    Attributes:
        place: labels of data set, victim, attack and defence.
        metric: its name.
        before, after: over the repetitions; `None` where there was none.
        shift: mean of after - before over the repetitions that both have.
        interval: 95 %, of `shift`: Student's t over the paired repetitions; of a single one, from the sampling of the
            test images as if the two were independent. `None` where that is not known.
    """

    place: Place
    metric: str
    before: Statistic | None
    after: Statistic | None
    change: Change
    shift: float = 0.0
    interval: tuple[float, float] | None = None


def differences(before: Board, after: Board) -> list[Difference]:
    """Of every cell and every number that a table shows of it, in the order of the newer board; lost ones last."""
    old = dict(_numbers(before))
    new = dict(_numbers(after))
    found = [_difference(after, place, metric, old.get((place, metric)), cell) for (place, metric), cell in new.items()]
    gone = [(key, cell) for key, cell in old.items() if key not in new]
    return found + [_lost(place, metric, cell) for (place, metric), cell in gone]


@dataclass(frozen=True, slots=True)
class PictureDifference:
    """A cell of which the board shows another picture than before: `what` is "new", "drawn anew" or "gone"."""

    place: Place
    repetition: int
    what: str


def picture_differences(before: Board, after: Board) -> list[PictureDifference]:
    """Of every picture that came, changed or went, in the order of the newer board; those that went last. A picture
    goes, too, when its cell was computed anew: it showed the record before."""
    old, new = dict(_pictures(before)), dict(_pictures(after))
    found = [
        PictureDifference(place, repetition, "drawn anew" if (place, repetition) in old else "new")
        for (place, repetition), digest in new.items()
        if old.get((place, repetition)) != digest
    ]
    return found + [PictureDifference(*key, "gone") for key in old if key not in new]


def _pictures(board: Board) -> Iterator[tuple[tuple[Place, int], str]]:
    for cell in board.cells:
        for entry in cell.entries:
            if entry.id in board.pictures:
                yield (_place(cell), entry.repetition), board.pictures[entry.id].line.digest


def _place(cell: TableCell) -> Place:
    return cell.dataset, cell.victim, cell.attack, cell.defence


def _numbers(board: Board) -> Iterator[tuple[tuple[Place, str], TableCell]]:
    for cell in board.cells:
        for measure in cell.measures:
            yield (_place(cell), measure.metric), cell


def _lost(place: Place, metric: str, cell: TableCell) -> Difference:
    return Difference(place, metric, cell.metrics[metric], None, Change.LOST)


def _difference(board: Board, place: Place, metric: str, old: TableCell | None, cell: TableCell) -> Difference:
    after = cell.metrics[metric]
    if old is None:
        return Difference(place, metric, None, after, Change.NEW)
    found = shift(old, cell, metric)
    if found is None:
        return Difference(place, metric, old.metrics[metric], after, Change.NEW)
    lower_is_better = metric in board.metrics and board.metrics[metric].direction == "lower"
    change = _judged(found, lower_is_better)
    return Difference(place, metric, old.metrics[metric], after, change, found.mean, found.interval)


@dataclass(frozen=True, slots=True)
class Shift:
    """What one cell's number is above another's: mean over the repetitions that both have, the 95 % interval of
    `Difference`, and whether all are equal."""

    mean: float
    interval: tuple[float, float] | None
    none: bool

    @property
    def up(self) -> bool:
        """Whether the interval lies above 0."""
        return self.mean > 0 and not self.none and (self.interval is None or self.interval[0] > 0)


def shift(one: TableCell, two: TableCell, metric: str, other: str = "") -> Shift | None:
    """From `one` to `two`, of which another metric may be compared; `None` where they share no repetition."""
    before, after = _values(one, metric), _values(two, other or metric)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None
    shifts = [after[repetition] - before[repetition] for repetition in shared]
    interval = paired_interval(shifts) or _sampling(two, shared[0], after[shared[0]], before[shared[0]])
    return Shift(Statistic(tuple(shifts)).mean, interval, all(abs(each) <= EXACT for each in shifts))


def _judged(found: Shift, lower_is_better: bool) -> Change:
    if found.none:
        return Change.SAME
    if found.interval is not None and found.interval[0] <= 0 <= found.interval[1]:
        return Change.NOISE
    return Change.BETTER if (found.mean > 0) != lower_is_better else Change.WORSE


def _values(cell: TableCell, metric: str) -> dict[int, float]:
    """By repetition."""
    return {
        entry.repetition: entry.scored.metrics[metric]
        for entry in cell.entries
        if entry.scored is not None and metric in entry.scored.metrics
    }


def _sampling(cell: TableCell, repetition: int, after: float, before: float) -> tuple[float, float] | None:
    """For one repetition: what the choice of test images alone would do to the difference of two shares."""
    count = next((_evaluated(entry) for entry in cell.entries if entry.repetition == repetition), 0)
    if count == 0 or not (0 <= after <= 1 and 0 <= before <= 1):
        return None
    half = NORMAL_95 * math.sqrt((after * (1 - after) + before * (1 - before)) / count)
    return after - before - half, after - before + half


def _evaluated(entry: Entry) -> int:
    """Test images that a cell was measured on."""
    scored = entry.scored
    if scored is None:
        return 0
    return scored.samples.count if scored.samples is not None else sum(map(sum, scored.confusion))
