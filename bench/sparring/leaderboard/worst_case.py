"""The worst case over attacks, per sample: what a defence is worth against someone who picks the best attack for each
image (Carlini et al. 2019, "On evaluating adversarial robustness", section 4.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import State, TableCell, WorstCase
from sparring.record import Samples, unpack_bits


@dataclass(frozen=True, slots=True)
class _Run:
    """One attack in one repetition."""

    label: str
    indices: str
    survived: NDArray[np.bool_]


def worst_case(cells: Sequence[TableCell]) -> WorstCase | None:
    """Over all evasion attacks among `cells`: those of one data set, victim and defence (a guard's oblivious and
    adaptive ones together). `None` when no attack has per-sample outcomes.

    Within a repetition only attacks on the same test rows can be compared; should they differ, the rows that most
    attacks share are used.
    """
    evasions = [cell for cell in cells if cell.evasion]
    runs: dict[int, list[_Run]] = defaultdict(list)
    for cell in evasions:
        label = f"{cell.attack} × {cell.defence}"
        for entry in cell.entries:
            samples = entry.scored.samples if entry.scored is not None else None
            survived = None if samples is None else _survived(samples)
            if samples is not None and survived is not None:
                runs[entry.repetition].append(_Run(label, samples.indices, survived))
    if not runs:
        return None
    compared = [_on_shared_rows(runs[repetition]) for repetition in sorted(runs)]
    rates = tuple(float(np.logical_and.reduce([run.survived for run in group]).mean()) for group in compared)
    entered = dict.fromkeys(run.label for group in compared for run in group)
    eligible = sum(cell.counts[State.NOT_APPLICABLE] < cell.expected for cell in evasions)
    return WorstCase(Statistic(rates), tuple(entered), min(len(group) for group in compared), eligible)


def _survived(samples: Samples) -> NDArray[np.bool_] | None:
    if samples.attacked_correct is None or samples.count == 0:
        return None
    try:
        return unpack_bits(samples.attacked_correct, samples.count)
    except ValueError:  # the right length, but not base64
        return None


def _on_shared_rows(runs: Sequence[_Run]) -> list[_Run]:
    groups: dict[str, list[_Run]] = defaultdict(list)
    for run in runs:
        groups[run.indices].append(run)
    return max(groups.values(), key=len)  # the first of equals
