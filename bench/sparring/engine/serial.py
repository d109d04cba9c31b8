"""The serial engine: every stage in this process, one after the other. For debugging, and for small boards."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sparring.engine.failures import broken, from_exception
from sparring.engine.frontier import Frontier
from sparring.engine.interface import IMPORTS, Watch
from sparring.engine.limits import OverLimit, import_with_threads, thread_variables, watchdog
from sparring.graph import Chain, Graph
from sparring.stage import Done, Execute, Stage, StageEvent, StageOutcome, WorkerSettings
from sparring.store import StoreProblem


class SerialEngine:
    """Runs stages in this process, depth-first, so that the first cells are finished early.

    Breakpoints work and what plugins print is seen. Time and memory limits interrupt Python code of the main thread
    only (see `watchdog`), and a stage that kills its process kills the run.

    Args:
        imports: modules imported before the first stage.
    """

    def __init__(self, imports: tuple[str, ...] = IMPORTS) -> None:
        self._imports = imports

    def run(
        self, graph: Graph, execute: Execute, settings: WorkerSettings, watch: Watch
    ) -> Iterator[tuple[str, StageOutcome]]:
        """See `Engine.run`."""
        os.environ.update(thread_variables(settings.threads))
        import_with_threads(self._imports, settings.threads)
        frontier = Frontier(graph)
        while frontier.open:
            for _, chain in frontier.take(1):
                yield from frontier.finish(chain, list(_outcomes(chain, execute, settings, watch)))


def _outcomes(chain: Chain, execute: Execute, settings: WorkerSettings, watch: Watch) -> Iterator[StageOutcome]:
    for stage in chain.stages:
        watch(StageEvent(key=stage.key, name=stage.name, label=stage.label))
        outcome = _attempt(stage, execute, settings)
        watch(StageEvent(key=stage.key, name=stage.name, label=stage.label, outcome=outcome))
        yield outcome
        if not isinstance(outcome, Done):
            return


def _attempt(stage: Stage, execute: Execute, settings: WorkerSettings) -> StageOutcome:
    try:
        with watchdog(settings.seconds, settings.memory):
            return execute(stage, settings, _unheard)
    except StoreProblem:
        raise
    except OverLimit as limit:
        cause = from_exception(stage, limit, settings.seconds)
        return broken(stage, limit.kind, str(limit), cause.traceback)
    except (Exception, SystemExit) as error:
        return from_exception(stage, error, settings.seconds)


def _unheard(done: int, total: int, note: str) -> None:
    """Progress inside a stage has no listener."""
