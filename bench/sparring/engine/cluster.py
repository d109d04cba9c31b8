"""The engines on Dask: processes of this machine, or any cluster."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sparring.engine.driver import Setup, drive
from sparring.engine.interface import IMPORTS, EngineUnavailable, Watch
from sparring.graph import Graph
from sparring.stage import Execute, StageOutcome, WorkerSettings

if TYPE_CHECKING:
    from distributed import Client

WINDOW: Final = 64  # chains for each process that Dask knows at one time
PATIENCE: Final = 10.0  # seconds to reach a scheduler, and again for its first worker
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
        window: chains that Dask is given at one time; `None`: in proportion to the processes.
        imports: modules that processes import before the clock of their first stage starts.
    """

    def __init__(
        self, workers: int | None = None, window: int | None = None, imports: tuple[str, ...] = IMPORTS
    ) -> None:
        self._workers = workers or usable_cores()
        self._window = window or WINDOW * self._workers
        self._imports = imports

    def run(
        self, graph: Graph, execute: Execute, settings: WorkerSettings, watch: Watch
    ) -> Iterator[tuple[str, StageOutcome]]:
        """See `Engine.run`."""
        with _local_client(self._workers) as client:
            yield from drive(client, graph, Setup(execute, settings, self._imports), self._window, watch)


class DaskEngine:
    """Any running Dask cluster whose workers have `sparring` and the plugins installed and see the store's folder.

    Args:
        address: of the scheduler, "tcp://host:8786".
        window: as for `LocalEngine`; should exceed the number of the cluster's threads.
        imports: as for `LocalEngine`.
    """

    def __init__(self, address: str, window: int = 16 * WINDOW, imports: tuple[str, ...] = IMPORTS) -> None:
        self._address = address
        self._window = window
        self._imports = imports

    def run(
        self, graph: Graph, execute: Execute, settings: WorkerSettings, watch: Watch
    ) -> Iterator[tuple[str, StageOutcome]]:
        """See `Engine.run`."""
        with _remote_client(self._address) as client:
            yield from drive(client, graph, Setup(execute, settings, self._imports), self._window, watch)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
