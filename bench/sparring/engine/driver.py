"""Drives a Dask cluster through a graph.

Dask places tasks, moves their results and notices dead workers. Which chains may run is known here (`Frontier`), and
artifacts lie in the store, so tasks need nothing of each other: Dask sees independent tasks only, which it hands to
the first free worker, and loses no finished stage with a worker.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import pickle
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sparring.engine.bundles import Bundle, Pace, together
from sparring.engine.failures import Halt, broken, from_exception
from sparring.engine.frontier import Frontier
from sparring.engine.interface import EngineUnavailable, Watch
from sparring.graph import Chain, Graph
from sparring.stage import Broken, Execute, FailureKind, Stage, StageEvent, StageOutcome, WorkerSettings

if TYPE_CHECKING:
    from distributed import Client

    from sparring.engine.worker import Outcomes

PAUSES: Final = (0.01, 0.1)  # seconds between two looks for results: right after one, and when none comes
GPU: Final = "GPU"


class Setup(NamedTuple):
    """What the processes that run stages are told before the first: the function, limits, and modules to import."""

    execute: Execute
    settings: WorkerSettings
    imports: tuple[str, ...]


def drive(client: Client, graph: Graph, setup: Setup, window: int, watch: Watch) -> Iterator[tuple[str, StageOutcome]]:
    """Run `graph` on the workers of `client`, which are given `window` chains at one time. See `Engine.run`."""
    from sparring.engine.worker import StageRunner

    run = f"sparring-{uuid.uuid4().hex}"
    driver = _Driver(client, run, Frontier(graph), window, watch, _resources(client, setup.settings))
    try:
        client.register_plugin(StageRunner(run, pickle.dumps(tuple(setup)), setup.settings, setup.imports))
    except Exception as problem:
        raise EngineUnavailable(f"the Dask workers cannot run sparring: {problem}") from problem
    try:
        yield from driver.outcomes()
    finally:
        driver.forget()
        with suppress(Exception):  # the scheduler may be gone; its workers then stop by themselves
            client.unregister_worker_plugin(run)


def _resources(client: Client, settings: WorkerSettings) -> dict[str, float] | None:
    """What a task takes of its worker: a GPU, where stages run on one and workers say who has some
    (`dask worker --resources GPU=1`). A resource that nobody has would be waited for for ever."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if settings.device == "cuda" and any(worker["resources"].get(GPU) for worker in workers):
        return {GPU: 1.0}
    return None


class _Driver:
    """Keeps a window of chains with Dask, and turns what comes back into outcomes."""

    def __init__(
        self,
        client: Client,
        run: str,
        frontier: Frontier,
        window: int,
        watch: Watch,
        resources: dict[str, float] | None,
    ) -> None:
        from distributed import as_completed

        self._client = client
        self._run = run
        self._frontier = frontier
        self._window = window
        self._watch = watch
        self._resources = resources
        self._pace = Pace(sum(client.nthreads().values()))
        self._flying: dict[str, Bundle] = {}
        self._suspects: deque[Chain] = deque()  # of tasks that were lost with their workers
        self._stages: dict[str, Stage] = {}  # of chains that were submitted and have not ended
        self._begun: set[str] = set()  # those of them that were told to have started
        self._started: SimpleQueue[str] = SimpleQueue()
        self._serial = itertools.count()
        self._pause = PAUSES[0]
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        client.subscribe_topic(run, lambda event: self._started.put(event[1]))

    def outcomes(self) -> Iterator[tuple[str, StageOutcome]]:
        while self._frontier.open:
            self._fill_window()
            if not self._flying:
                yield from self._ended(*self._tried(self._suspects.popleft()))
            for bundle, found in self._landed():
                if isinstance(found, BaseException):
                    self._suspects.extend(chain for _, chain in bundle)
                    continue
                for (_, chain), outcomes in zip(bundle, found, strict=True):
                    yield from self._ended(chain, outcomes)

    def forget(self) -> None:
        """Let go of what is not finished, so that no worker begins it."""
        self._completed.clear()
        self._flying.clear()

    def _fill_window(self) -> None:
        flying = sum(map(len, self._flying.values()))
        if flying <= self._window // 2:
            for bundles in together(self._pace.bundles(self._frontier.take(self._window - flying), flying)):
                self._submit(bundles)

    def _submit(self, bundles: list[Bundle]) -> None:
        from sparring.engine.worker import Task, run_task

        tasks, keys = [], []
        for bundle in bundles:
            tasks.append(Task(self._run, tuple(tuple(map(_posted, chain.stages)) for _, chain in bundle)))
            # Dask runs tasks of one batch in the order of their keys; a stage that is tried again needs a new one
            keys.append(f"stage-{bundle[0][0]:08}-{next(self._serial)}-{self._run}")
            self._flying[keys[-1]] = bundle
            self._stages.update({stage.key: stage for _, chain in bundle for stage in chain.stages})
        self._completed.update(
            self._client.map(run_task, tasks, key=keys, priority=-bundles[0][0][0], resources=self._resources)
        )

    def _landed(self) -> list[tuple[Bundle, tuple[Outcomes, ...] | BaseException]]:
        """Tasks that came back since the last look, after a pause when there are none.

        The result counts, not the future's status: the worker that gave it may be gone by now, and Dask then thinks
        of the result as lost."""
        self._tell_started()
        batch = self._completed.next_batch(block=False)
        if batch:
            self._pause = PAUSES[0]
        else:
            time.sleep(self._pause)
            self._pause = min(PAUSES[1], 1.5 * self._pause)
        return [(self._flying.pop(future.key), _checked(result)) for future, result in batch]

    def _tried(self, suspect: Chain) -> tuple[Chain, list[StageOutcome]]:
        """Run the stages of a chain one by one, while nothing else runs.

        Dask blames the death of a worker on all tasks it held: on those that waited behind the culprit, and on those
        whose results had not been fetched. Who was alone when it happened did it.
        """
        outcomes: list[StageOutcome] = []
        for stage in suspect.stages:
            self._submit([((0, Chain((stage,), frozenset())),)])
            while not (landed := self._landed()):
                pass
            found = landed[0][1]
            outcomes.append(_lost(stage, found) if isinstance(found, BaseException) else found[0][0])
            if isinstance(outcomes[-1], Broken):
                break
        return suspect, outcomes

    def _ended(self, chain: Chain, outcomes: Sequence[StageOutcome]) -> list[tuple[str, StageOutcome]]:
        for stage in chain.stages:
            del self._stages[stage.key]
            self._begun.discard(stage.key)
        for stage, outcome in zip(chain.stages, outcomes, strict=False):
            self._pace.learn(stage, outcome)
            self._watch(StageEvent(key=stage.key, name=stage.name, label=stage.label, outcome=outcome))
        return self._frontier.finish(chain, outcomes)

    def _tell_started(self) -> None:
        with suppress(Empty):
            while True:
                stage = self._stages.get(self._started.get_nowait())
                if stage is not None and stage.key not in self._begun:
                    self._begun.add(stage.key)
                    self._watch(StageEvent(key=stage.key, name=stage.name, label=stage.label))


def _checked(result: Any) -> tuple[Outcomes, ...] | BaseException:
    """What a task returned, or the exception that Dask gives in its place: itself, or as (type, exception, traceback).

    Raises:
        EngineUnavailable: the scheduler is gone, or no process can be started.
        StoreProblem: as for `Engine.run`.
    """
    if isinstance(result, Halt):
        raise result.problem
    if isinstance(result, tuple) and len(result) == 3 and isinstance(result[1], BaseException):
        result = result[1]
    if isinstance(result, asyncio.CancelledError | concurrent.futures.CancelledError):
        raise EngineUnavailable("the connection to the Dask scheduler was lost")
    found: tuple[Outcomes, ...] | BaseException = result
    return found


def _lost(stage: Stage, error: BaseException) -> Broken:
    """`stage` as broken by what befell its worker."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return broken(stage, FailureKind.KILLED, "every worker that ran it was killed")
    return from_exception(stage, error, None)


def _posted(stage: Stage) -> Any:
    from sparring.engine.supervisor import Posted

    return Posted(stage.key, stage.name, stage.label, pickle.dumps(stage))
