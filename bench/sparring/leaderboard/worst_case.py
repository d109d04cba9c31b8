"""The worst case over attacks, per sample: what a defence is worth against someone who picks the best attack for each
image (Carlini et al. 2019, "On evaluating adversarial robustness", section 4.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import WAYS, TableCell, WorstCase, split_knowledge
from sparring.record import Samples, unpack_bits


@dataclass(frozen=True, slots=True)
class _Run:
    """One attack in one repetition."""

    attack: str
    defence: str
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
        for entry in cell.entries:
            samples = entry.scored.samples if entry.scored is not None else None
            survived = None if samples is None else _survived(samples)
            if samples is not None and survived is not None:
                runs[entry.repetition].append(_Run(cell.attack, cell.defence, samples.indices, survived))
    if not runs:
        return None
    compared = [_on_shared_rows(runs[repetition]) for repetition in sorted(runs)]
    rates = tuple(float(np.logical_and.reduce([run.survived for run in group]).mean()) for group in compared)
    eligible: dict[str, set[str]] = defaultdict(set)
    for cell in evasions:
        if not cell.not_applicable:
            eligible[cell.attack].add(cell.defence)
    known = {split_knowledge(defence)[1] for defences in eligible.values() for defence in defences}
    return WorstCase(
        statistic=Statistic(rates),
        repetitions=tuple(sorted(runs)),
        entered=tuple(dict.fromkeys(f"{run.attack} × {run.defence}" for group in compared for run in group)),
        fewest=min(_complete(group, eligible) for group in compared),
        eligible=len(eligible),
        ways=tuple(way for way in WAYS if way in known),
    )


def _complete(group: Sequence[_Run], eligible: Mapping[str, set[str]]) -> int:
    """How many attacks entered in each of their ways."""
    entered = {(run.attack, run.defence) for run in group}
    return sum(all((attack, way) in entered for way in ways) for attack, ways in eligible.items())


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
