"""Which chains travel to a worker together: a task costs some 10 ms of messages, more than many stages take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sparring.graph import Chain
from sparring.stage import Done, Sort, Stage, StageOutcome, sort_of

Bundle = tuple[tuple[int, Chain], ...]
"""Chains, each with its rank in depth-first order."""

SOON: Final = 1.0
"""Expected seconds of a bundle at most: results are heard of when the whole bundle is done."""

MOST: Final = 32
"""Chains of a bundle at most."""

ALIKE: Final = 8
"""Chains at most, unless one bundle has more, that share a priority, which is where those they lead to must wait."""

ROUNDS: Final = 4
"""Bundles for each slot at least, as long as there are chains: where few are left, each travels alone."""


class Pace:
    """What stages of each sort have taken in this run, on average; and bundles made accordingly.

    Args:
        slots: tasks that the cluster runs at one time.
    """

    def __init__(self, slots: int) -> None:
        self._slots = max(1, slots)
        self._taken: dict[Sort, tuple[int, float]] = {}  # how many, and their seconds together

    def learn(self, stage: Stage, outcome: StageOutcome) -> None:
        if isinstance(outcome, Done):
            count, seconds = self._taken.get(sort_of(stage), (0, 0.0))
            self._taken[sort_of(stage)] = count + 1, seconds + outcome.seconds

    def expected(self, chain: Chain) -> float:
        """Seconds of a chain, judged by the stages of the same sorts so far; infinite as long as unknown."""
        return sum(self._mean(sort_of(stage)) for stage in chain.stages)

    def _mean(self, sort: Sort) -> float:
        count, seconds = self._taken.get(sort, (0, 0.0))
        return seconds / count if count else float("inf")

    def bundles(self, ready: Sequence[tuple[int, Chain]], waiting: int) -> list[Bundle]:
        """`ready` in its order, cut so that only what is expected to be over soon shares a bundle.

        Args:
            ready: chains that may run, each with its rank.
            waiting: chains that the cluster has already been given and not finished.
        """
        most = min(MOST, (len(ready) + waiting) // (ROUNDS * self._slots))
        made: list[Bundle] = []
        room = 0.0
        for rank, chain in ready:
            seconds = self.expected(chain)
            if made and seconds <= room and len(made[-1]) < most:
                made[-1] = (*made[-1], (rank, chain))
            else:
                made.append(((rank, chain),))
                room = SOON
            room -= seconds
        return made


def together(bundles: Sequence[Bundle]) -> Iterator[list[Bundle]]:
    """`bundles` in groups of at most `ALIKE` chains. A group is submitted at once and shares one priority."""
    group: list[Bundle] = []
    for bundle in bundles:
        if group and sum(map(len, group)) + len(bundle) > ALIKE:
            yield group
            group = []
        group.append(bundle)
    if group:
        yield group
