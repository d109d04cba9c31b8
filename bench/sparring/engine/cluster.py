"""The engines on Dask: processes of this machine, or any cluster.

Dask places tasks, moves their results and notices dead workers. Which chains may run is known here (`Frontier`), and
artifacts lie in the store, so tasks need nothing of each other: Dask sees independent tasks only, which it hands to
the first free worker, and loses no finished stage with a worker.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import pickle
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from sparring.engine.bundles import Bundle, Pace, together
from sparring.engine.failures import Halt, broken, from_exception
from sparring.engine.frontier import Frontier
from sparring.engine.interface import IMPORTS, EngineUnavailable, Watch
from sparring.graph import Chain, Graph
from sparring.stage import Broken, Execute, FailureKind, Stage, StageEvent, StageOutcome, WorkerSettings

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

WINDOW: Final = 256  # chains that Dask knows at one time
PATIENCE: Final = 10.0  # seconds to reach a scheduler, and again for its first worker
PAUSES: Final = (0.01, 0.1)  # seconds between two looks for results: right after one, and when none comes
NOWHERE: Final = "127.0.0.1:0"  # reached from this machine only, at a free port
_CONFIG: Final = {
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-saturation": 1.0,  # nothing waits behind a long stage while a worker is free
    "distributed.admin.system-monitor.interval": "10s",
}


class LocalEngine:
    """Processes of this machine: a Dask `LocalCluster` of one worker, whose threads supervise one process each.

    Args:
        workers: processes that run stages; `None`: one for each core that this process may use.
        window: chains that Dask is given at one time.
        imports: modules that processes import before the clock of their first stage starts.
    """

    def __init__(self, workers: int | None = None, window: int = WINDOW, imports: tuple[str, ...] = IMPORTS) -> None:
        self._workers = workers or usable_cores()
        self._window = window
        self._imports = imports

    def run(
        self, graph: Graph, execute: Execute, settings: WorkerSettings, watch: Watch
    ) -> Iterator[tuple[str, StageOutcome]]:
        """See `Engine.run`."""
        with _local_client(self._workers) as client:
            yield from _run(client, graph, (execute, settings, self._imports), self._window, watch)


class DaskEngine:
    """Any running Dask cluster whose workers have `sparring` and the plugins installed and see the store's folder.

    Args:
        address: of the scheduler, "tcp://host:8786".
        window: as for `LocalEngine`; should exceed the number of the cluster's threads.
        imports: as for `LocalEngine`.
    """

    def __init__(self, address: str, window: int = 4 * WINDOW, imports: tuple[str, ...] = IMPORTS) -> None:
        self._address = address
        self._window = window
        self._imports = imports

    def run(
        self, graph: Graph, execute: Execute, settings: WorkerSettings, watch: Watch
    ) -> Iterator[tuple[str, StageOutcome]]:
        """See `Engine.run`."""
        with _remote_client(self._address) as client:
            yield from _run(client, graph, (execute, settings, self._imports), self._window, watch)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    client: Client, graph: Graph, setup: tuple[Execute, WorkerSettings, tuple[str, ...]], window: int, watch: Watch
) -> Iterator[tuple[str, StageOutcome]]:
    from sparring.engine.worker import StageRunner

    run = f"sparring-{uuid.uuid4().hex}"
    frontier = Frontier(graph)
    try:
        client.register_plugin(StageRunner(run, pickle.dumps(setup), setup[1]))
    except Exception as problem:
        raise EngineUnavailable(f"the Dask workers cannot run sparring: {problem}") from problem
    driver = _Driver(client, run, frontier, window, watch)
    try:
        yield from driver.outcomes()
    finally:
        driver.forget()
        with suppress(Exception):  # the scheduler may be gone; its workers then stop by themselves
            client.unregister_worker_plugin(run)


class _Driver:
    """Keeps a window of chains with Dask, and turns what comes back into outcomes."""

    def __init__(self, client: Client, run: str, frontier: Frontier, window: int, watch: Watch) -> None:
        from distributed import as_completed

        self._client = client
        self._run = run
        self._frontier = frontier
        self._window = window
        self._watch = watch
        self._pace = Pace(sum(client.nthreads().values()))
        self._flying: dict[str, Bundle] = {}
        self._stages: dict[str, Stage] = {}  # of the flying chains
        self._begun: set[str] = set()  # stages that started and whose chain is flying
        self._started: SimpleQueue[str] = SimpleQueue()
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        client.subscribe_topic(run, lambda event: self._started.put(event[1]))

    def outcomes(self) -> Iterator[tuple[str, StageOutcome]]:
        pause, longest = PAUSES
        while self._frontier.open:
            flying = sum(map(len, self._flying.values()))
            if flying <= self._window - self._window // 4:
                for bundles in together(self._pace.bundles(self._frontier.take(self._window - flying), flying)):
                    self._submit(bundles)
            self._tell_started()
            batch = self._completed.next_batch(block=False)
            if batch:
                pause = PAUSES[0]
            else:
                time.sleep(pause)
                pause = min(longest, 1.5 * pause)
            for future, result in batch:
                yield from self._landed(future, result)

    def forget(self) -> None:
        """Let go of what is not finished, so that no worker begins it."""
        self._completed.clear()
        self._flying.clear()

    def _submit(self, bundles: list[Bundle]) -> None:
        from sparring.engine.worker import Task, run_task

        tasks, keys = [], []
        for bundle in bundles:
            tasks.append(Task(self._run, tuple(tuple(map(_posted, chain.stages)) for _, chain in bundle)))
            # Dask runs tasks of one batch in the order of their keys; a chain that is tried again needs a new one
            keys.append(f"stage-{bundle[0][0]:08}-{len(bundle)}-{self._run}")
            self._flying[keys[-1]] = bundle
            self._stages.update({stage.key: stage for _, chain in bundle for stage in chain.stages})
        self._completed.update(self._client.map(run_task, tasks, key=keys, priority=-bundles[0][0][0]))

    def _landed(self, future: Any, result: Any) -> Iterator[tuple[str, StageOutcome]]:
        """What became of a task. `result` counts, not the future's status: the worker that gave it may be gone by now,
        and Dask then thinks of the result as lost."""
        bundle = self._flying.pop(future.key)
        if isinstance(result, Halt):
            raise result.problem
        error = _error_of(result)
        if isinstance(error, asyncio.CancelledError | concurrent.futures.CancelledError):
            raise EngineUnavailable("the connection to the Dask scheduler was lost")
        if error is not None and len(bundle) > 1:  # one of them did it: each by itself will tell
            self._submit([(ranked,) for ranked in bundle])
            return
        found = result if error is None else [(self._lost(bundle[0][1], error),)]
        for (_, chain), outcomes in zip(bundle, found, strict=True):
            yield from self._ended(chain, outcomes)

    def _ended(self, chain: Chain, outcomes: tuple[StageOutcome, ...]) -> list[tuple[str, StageOutcome]]:
        for stage in chain.stages:
            del self._stages[stage.key]
            self._begun.discard(stage.key)
        for stage, outcome in zip(chain.stages, outcomes, strict=False):
            self._pace.learn(stage, outcome)
            self._watch(StageEvent(key=stage.key, name=stage.name, label=stage.label, outcome=outcome))
        return self._frontier.finish(chain, outcomes)

    def _lost(self, chain: Chain, error: BaseException) -> Broken:
        """The last stage that is known to have started, broken by what befell its worker rather than itself."""
        from distributed import KilledWorker

        blamed = [stage for stage in chain.stages if stage.key in self._begun] or [chain.stages[0]]
        if isinstance(error, KilledWorker):
            return broken(blamed[-1], FailureKind.KILLED, "every worker that ran it was killed")
        return from_exception(blamed[-1], error, None)

    def _tell_started(self) -> None:
        with suppress(Empty):
            while True:
                stage = self._stages.get(self._started.get_nowait())
                if stage is not None and stage.key not in self._begun:
                    self._begun.add(stage.key)
                    self._watch(StageEvent(key=stage.key, name=stage.name, label=stage.label))


def _error_of(result: Any) -> BaseException | None:
    """The exception that Dask gives in the place of a result: itself, or as (type, exception, traceback)."""
    if isinstance(result, BaseException):
        return result
    failed = isinstance(result, tuple) and len(result) == 3 and isinstance(result[1], BaseException)
    return result[1] if failed else None


def _posted(stage: Stage) -> Any:
    from sparring.engine.supervisor import Posted

    return Posted(stage.key, stage.name, stage.label, pickle.dumps(stage))


@contextmanager
def _local_client(workers: int) -> Iterator[Client]:
    """Scheduler and worker are threads of this process: messages between them cost next to nothing. Stages run in
    processes of their own in any case, one for each thread of the worker."""
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(_CONFIG), _quiet():
        with _uninterrupted():
            cluster = LocalCluster(
                n_workers=1,
                threads_per_worker=workers,
                processes=False,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": NOWHERE},  # their HTTP servers start in any case
                worker_dashboard_address=NOWHERE,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
            client = Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            with _uninterrupted():
                client.close(timeout=2)
                cluster.close(timeout=2)


@contextmanager
def _remote_client(address: str) -> Iterator[Client]:
    from distributed import Client

    with _quiet():
        try:
            client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as problem:
            raise EngineUnavailable(f"no Dask scheduler answers at {address}") from problem
        try:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError as problem:
                raise EngineUnavailable(f"the Dask scheduler at {address} has no workers") from problem
            yield client
        finally:
            client.close(timeout=2)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is left. Threads and processes started inside never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's remarks about lost workers and closed connections from the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
