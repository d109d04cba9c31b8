"""What every engine offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sparring.graph import Graph
from sparring.stage import Execute, StageEvent, StageOutcome, WorkerSettings

Watch = Callable[[StageEvent], None]
"""Told, in the thread that consumes the run, about stages that start (best effort) and about every stage that ended,
exactly once each. The stages of a fused chain end together as far as it can tell."""

IMPORTS: Final = ("torch", "sparring.stages", "scipy.stats")
"""Modules that a process imports before the clock of its first stage starts: what nearly every board needs."""


class EngineUnavailable(RuntimeError):
    """The engine cannot run anything. The message says why, in one sentence for the user."""


class Engine(Protocol):
    """Runs a graph."""

    def run(
        self, graph: Graph, execute: Execute, settings: WorkerSettings, watch: Watch
    ) -> Iterator[tuple[str, StageOutcome]]:
        """Yield each distinct goal key with its outcome, as soon as it is known.

        The outcome is `Broken` when anything upstream broke, and then names the stage that did. Closing the iterator
        stops everything at once and leaves no process behind.

        Raises:
            EngineUnavailable: there is nothing to run the graph on.
            StoreProblem: the store cannot be written to any more; see `sparring.store`.
        """
        ...
