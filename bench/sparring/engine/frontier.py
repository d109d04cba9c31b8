"""Which chains may run now. All engines take their work from here, so each chain is handed out once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from sparring.graph import Chain, Graph, chains
from sparring.stage import Broken, StageOutcome


class Frontier:
    """The border between what is done and what is not.

    A chain is handed out when all its inputs are done, the first in depth-first order first, so that whole cells
    finish early. A chain behind a broken one is never handed out, nor is one that only broken ones would read.
    """

    def __init__(self, graph: Graph) -> None:
        self._chains = chains(graph)
        self._ranks = {chain.key: rank for rank, chain in enumerate(self._chains)}
        self._missing = {chain.key: len(chain.inputs) for chain in self._chains}
        self._readers: dict[str, list[str]] = {chain.key: [] for chain in self._chains}
        for chain in self._chains:
            for needed in chain.inputs:
                self._readers[needed].append(chain.key)
        self._goals = set(graph.goals)
        self._broken: set[str] = set()
        self._ready = [rank for rank, chain in enumerate(self._chains) if not chain.inputs]

    @property
    def open(self) -> bool:
        """Whether the outcome of some goal is still unknown."""
        return bool(self._goals)

    def take(self, count: int) -> list[tuple[int, Chain]]:
        """At most `count` chains that may run now, each with its rank in depth-first order."""
        taken: list[tuple[int, Chain]] = []
        while self._ready and len(taken) < count:
            rank = heapq.heappop(self._ready)
            if not self._broken or self._wanted(self._chains[rank].key):
                taken.append((rank, self._chains[rank]))
        return taken

    def finish(self, chain: Chain, outcomes: Sequence[StageOutcome]) -> list[tuple[str, StageOutcome]]:
        """Say what became of the stages of a chain, up to the first that broke; returns the goals now known."""
        last = outcomes[-1]
        if isinstance(last, Broken):
            return [(key, last) for key in self._break(chain.key)]
        for reader in self._readers[chain.key]:
            self._missing[reader] -= 1
            if self._missing[reader] == 0:
                heapq.heappush(self._ready, self._ranks[reader])
        return [(chain.key, last)] if self._reached(chain.key) else []

    def _reached(self, key: str) -> bool:
        found = key in self._goals
        self._goals.discard(key)
        return found

    def _break(self, key: str) -> list[str]:
        goals, behind = [], [key]
        while behind:
            key = behind.pop()
            if key not in self._broken:
                self._broken.add(key)
                behind += self._readers[key]
                if self._reached(key):
                    goals.append(key)
        return goals

    def _wanted(self, key: str) -> bool:
        if key in self._broken:
            return False
        return key in self._goals or any(self._wanted(reader) for reader in self._readers[key])
