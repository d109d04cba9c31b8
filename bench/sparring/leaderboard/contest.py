"""Numbers of several, who of them is best, by how much, and how sure that is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from statistics import fmean

from sparring.leaderboard.statistic import Statistic, paired_interval


@dataclass(frozen=True, slots=True)
class Score:
    """The number of a defence or an attack.

    Attributes:
        values: by repetition.
        note: unless empty, why it is not to be compared with the others.
        partly: unless empty, how many repetitions it is over, where some are missing; it is compared over those.
    """

    values: Mapping[int, float]
    note: str = ""
    partly: str = ""

    @property
    def remark(self) -> str:
        """What is to be shown beside the number."""
        return ", ".join(filter(None, (self.note, self.partly)))

    @property
    def statistic(self) -> Statistic:
        return Statistic(tuple(self.values[repetition] for repetition in sorted(self.values)))


@dataclass(frozen=True, slots=True)
class Lead:
    """What the best is ahead of the `next` one: mean paired difference over repetitions, at least 0, and its
    95 % interval (`None` for one repetition)."""

    next: str
    mean: float
    interval: tuple[float, float] | None

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and self.interval[0] > 0


@dataclass(frozen=True, slots=True)
class Contest:
    """One quantity of every defence, or of every attack.

    Attributes:
        scores: by label.
        best: the best of those that can be compared.
        level: the best and all that cannot be told from it, the interval of the paired difference holding 0. With one
            repetition only those that are exactly as good.
        lead: over the best of the others; `None` when there is nobody to compare with.
        above: of those that can be compared: which are surely better, the interval of the paired difference leaving out
            0. Empty with one repetition, or one entry.
    """

    scores: Mapping[str, Score]
    best: str | None
    level: frozenset[str]
    lead: Lead | None
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def fair(self) -> Mapping[str, Score]:
        """Those that can be compared: without a note. Where each has one, most of those with the same: who met other
        attacks is no rival."""
        notes = Counter(score.note for score in self.scores.values())
        note = "" if notes[""] else next(iter(notes.most_common(1)), ("", 0))[0]
        return {name: score for name, score in self.scores.items() if score.note == note}

    def won_by(self, label: str) -> bool:
        """Whether it is the best of several."""
        return label == self.best and self.lead is not None

    @property
    def complete(self) -> int:
        """How many have no note."""
        return sum(not score.note for score in self.scores.values())

    @property
    def ranks(self) -> dict[str, int]:
        """1 and how many are surely better: those that cannot be told apart may share one."""
        return {name: 1 + len(better) for name, better in self.above.items()}


def best_first(labels: Iterable[str], contests: Iterable[Contest]) -> tuple[str, ...]:
    """`labels` by how far they are behind the best, on average over the contests in which they can be compared; who is
    in none comes last, in the order given."""
    behind: dict[str, list[float]] = defaultdict(list)
    for judged in contests:
        fair = judged.fair
        for label, score in fair.items():
            if judged.best is not None:
                behind[label].append(abs(fair[judged.best].statistic.mean - score.statistic.mean))
    return tuple(sorted(labels, key=lambda label: fmean(behind[label]) if behind[label] else inf))


def contest(scores: Mapping[str, Score], lower: bool = False) -> Contest:
    """Who is best; `lower`: the lowest. Numbers with a note are compared only when all have one, with their like."""
    fair = Contest(scores, None, frozenset(), None).fair
    sign = -1 if lower else 1
    ranked = sorted(fair, key=lambda name: -sign * fair[name].statistic.mean)  # stable: the board's order decides
    if not ranked:
        return Contest(scores, None, frozenset(), None)
    leads = [_lead(name, fair[ranked[0]], fair[name], sign) for name in ranked[1:]]
    level = {lead.next for lead in leads if (lead.mean <= 0 if lead.interval is None else not lead.sure)}
    lead = leads[0] if leads else None
    return Contest(scores, ranked[0], frozenset({ranked[0], *level}), lead, _above(fair, sign) if leads else {})


def _above(fair: Mapping[str, Score], sign: int) -> dict[str, frozenset[str]]:
    if any(len(score.values) < 2 for score in fair.values()):
        return {}
    return {
        name: frozenset(rival for rival in fair if rival != name and _lead(name, fair[rival], score, sign).sure)
        for name, score in fair.items()
    }


def _lead(name: str, best: Score, other: Score, sign: int) -> Lead:
    shared = sorted(best.values.keys() & other.values.keys())
    if not shared:
        return Lead(name, sign * (best.statistic.mean - other.statistic.mean), None)
    differences = [sign * (best.values[r] - other.values[r]) for r in shared]
    return Lead(name, Statistic(tuple(differences)).mean, paired_interval(differences))
