"""Whether a published number comes out again: for boards by others, and for our own on another machine."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sparring.record import Provenance, Record, Scored

Z_95: Final = 1.959963984540054
EXACT: Final = 1e-12


class Verdict(StrEnum):
    """How a recomputed cell compares with the published one."""

    SAME = "the same, to the last bit"
    AGREES = "within the interval"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Verified:
    """One cell.

    Attributes:
        differing: what is not as published: name, published, recomputed. Where the machine is another one, only what
            lies outside of the interval.
        elsewhere: what tells the two machines apart; empty where all that numbers depend on is the same, so that they
            must be equal.
    """

    cell: str
    verdict: Verdict
    differing: tuple[tuple[str, float, float], ...]
    elsewhere: tuple[str, ...]


def drawn(records: Iterable[Record], count: int, seed: int) -> list[Record]:
    """`count` of the scored records, at most all, drawn without replacement; in the order of their cells."""
    scored = sorted((record for record in records if isinstance(record.outcome, Scored)), key=lambda r: r.cell.id)
    chosen = random.Random(seed).sample(scored, min(count, len(scored)))
    return sorted(chosen, key=lambda record: record.cell.id)


def verified(published: Record, again: Record) -> Verified:
    """Compare two records of one cell and key.

    On the machine that the first was made on (processor, device, threads, library versions), outcomes must be equal.
    Elsewhere rounding differs, and shares of test images must lie within the 95 % interval of the difference that the
    choice of images alone would make; other numbers are not compared.
    """
    cell = published.cell.id
    elsewhere = tuple(_apart(published.provenance, again.provenance))
    if published.outcome == again.outcome:
        return Verified(cell, Verdict.SAME, (), elsewhere)
    if not isinstance(published.outcome, Scored) or not isinstance(again.outcome, Scored):
        return Verified(cell, Verdict.DIFFERS, (), elsewhere)
    differing = tuple(_differing(published.outcome, again.outcome, exactly=not elsewhere))
    wrong = bool(differing) or not elsewhere
    return Verified(cell, Verdict.DIFFERS if wrong else Verdict.AGREES, differing, elsewhere)


def _apart(one: Provenance, two: Provenance) -> Iterator[str]:
    for name in ("cpu", "device", "threads", "platform", "python"):
        ours, theirs = getattr(one, name), getattr(two, name)
        if ours != theirs:
            yield f"{name}: {ours}, here {theirs}"
    for library in sorted(one.versions.keys() | two.versions.keys()):
        ours, theirs = one.versions.get(library, "none"), two.versions.get(library, "none")
        if ours != theirs:
            yield f"{library} {ours}, here {theirs}"


def _differing(one: Scored, two: Scored, *, exactly: bool) -> Iterator[tuple[str, float, float]]:
    images = one.samples.count if one.samples is not None else sum(map(sum, one.confusion))
    for name in sorted(one.metrics.keys() | two.metrics.keys()):
        ours, theirs = one.metrics.get(name, math.nan), two.metrics.get(name, math.nan)
        if exactly:
            apart = not abs(ours - theirs) <= EXACT
        else:
            apart = math.isnan(ours - theirs) or _outside(ours, theirs, images)
        if apart:
            yield name, ours, theirs


def _outside(one: float, two: float, images: int) -> bool:
    if images == 0 or not (0 <= one <= 1 and 0 <= two <= 1):
        return False
    middle = min(max((one + two) / 2, 1 / images), 1 - 1 / images)  # of no errors in n images, one more is no surprise
    return abs(one - two) > Z_95 * math.sqrt(2 * middle * (1 - middle) / images)
