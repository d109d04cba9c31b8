"""What runs inside a Dask worker: a thin supervisor of the processes that do the work."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from distributed import Worker, WorkerPlugin, get_worker

from sparring.engine.birth import Nursery
from sparring.engine.failures import Halt
from sparring.engine.supervisor import Posted, Supervisor
from sparring.stage import Broken, Done, StageOutcome, WorkerSettings

Outcomes = tuple[StageOutcome, ...]
"""Of one chain, up to the first stage that broke."""

SAID_EVERY: Final = 0.5
"""Seconds between two announcements of started stages in a bundle, which are for people only. A chain that travels
alone may take long, and announces each."""


@dataclass(frozen=True, slots=True)
class Task:
    """Chains on their way to a worker; `run` names the run they belong to."""

    run: str
    chains: tuple[tuple[Posted, ...], ...]

    def __dask_tokenize__(self) -> tuple[str, str]:
        return self.run, self.chains[-1][-1].key


class WorkerLeft(RuntimeError):
    """The worker ended, in good order, before a stage did."""


class StageRunner(WorkerPlugin):
    """Set up on every worker for the time of one run; one child for each of the worker's threads, made when needed.

    Args:
        run: the run's name, also the topic under which it says which stages start.
        setup: `(execute, settings, imports)`, pickled.
        settings: limits and threads.
        imports: modules that children have imported before their first stage.
    """

    def __init__(self, run: str, setup: bytes, settings: WorkerSettings, imports: tuple[str, ...]) -> None:
        self.name = run
        self._setup = setup
        self._settings = settings
        self._imports = imports

    def setup(self, worker: Worker) -> None:
        """Called by Dask in the worker."""
        self._worker = worker
        self._nursery = Nursery(self._imports, self._settings.threads)
        self._supervisors: dict[int, Supervisor] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._said = 0.0

    def teardown(self, worker: Worker) -> None:
        """Called by Dask in the worker, when the run or the worker ends."""
        with self._lock:
            self._closed = True
            for supervisor in self._supervisors.values():
                supervisor.close()
        self._nursery.close()

    def run(self, chains: tuple[tuple[Posted, ...], ...]) -> tuple[Outcomes, ...] | Halt:
        """Run chains one after the other, each up to the first stage that breaks."""
        found: list[Outcomes] = []
        for chain in chains:
            outcomes = self._run_chain(chain, SAID_EVERY if len(chains) > 1 else 0.0)
            if isinstance(outcomes, Halt):
                return outcomes
            found.append(outcomes)
        return tuple(found)

    def _run_chain(self, stages: tuple[Posted, ...], said_every: float) -> Outcomes | Halt:
        outcomes: list[StageOutcome] = []
        for stage in stages:
            if time.monotonic() - self._said >= said_every:
                self._said = time.monotonic()
                self._worker.log_event(self.name, stage.key)
            outcome = self._supervisor().run(stage)
            if self._closed and not isinstance(outcome, Done):  # our doing: the driver tries it elsewhere
                raise WorkerLeft("the worker left while the stage ran")
            if isinstance(outcome, Halt):
                return outcome
            outcomes.append(outcome)
            if isinstance(outcome, Broken):
                break
        return tuple(outcomes)

    def _supervisor(self) -> Supervisor:
        with self._lock:
            thread = threading.get_ident()
            if thread not in self._supervisors:
                self._supervisors[thread] = Supervisor(self._nursery, self._setup, self._settings)
                if self._closed:
                    self._supervisors[thread].close()
            return self._supervisors[thread]


def run_task(task: Task) -> tuple[Outcomes, ...] | Halt:
    """The function that Dask runs."""
    runner = get_worker().plugins[task.run]
    assert isinstance(runner, StageRunner)
    return runner.run(task.chains)
