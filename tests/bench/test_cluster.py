"""A Dask cluster as its manual says: a scheduler and workers, each a process of its own, that come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_stages import execute, graph, stage, times_run

from sparring.engine import DaskEngine
from sparring.graph import Graph
from sparring.stage import Done, StageOutcome, WorkerSettings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Cluster:
    """A scheduler, and the workers that were started so far, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._scheduler = self._start("scheduler", "--port", "0")
        _await(self._file.exists)
        self.address = str(json.loads(self._file.read_text())["address"])

    def add(self, name: str, *options: str) -> None:
        """A worker of one thread; returns once it has joined."""
        from distributed import Client

        self.workers[name] = self._start("worker", "--nthreads", "1", "--no-nanny", "--name", name, *options)
        with Client(self.address, set_as_default=False) as client:
            _await(lambda: name in {w["name"] for w in client.scheduler_info(n_workers=-1)["workers"].values()})

    def close(self) -> None:
        for process in [*self.workers.values(), self._scheduler]:
            process.terminate()
            process.wait(30)

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        where = ["--host", "127.0.0.1", "--scheduler-file", str(self._file), "--no-dashboard"]
        return subprocess.Popen(
            [sys.executable, "-m", "dask", what, *where, *options],
            cwd=self._folder,
            env=os.environ
            | {"WORKER": options[options.index("--name") + 1] if "--name" in options else ""}
            | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _await(condition: object, seconds: float = 120) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    found = Cluster(tmp_path / "cluster")
    yield found
    found.close()


def meetings(*groups: tuple[int, int]) -> Graph:
    """Stages, for each (count, workers) so many that wait until so many workers have begun one."""
    stages = [
        stage(f"meet{group}-{n}", "load", act="meet", workers=workers, seconds=0.1)
        for group, (count, workers) in enumerate(groups)
        for n in range(count)
    ]
    return graph([stage("load"), *stages], [one.label for one in stages])


def workers_of(outcomes: list[StageOutcome]) -> Counter[str]:
    assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
    return Counter(str(outcome.value["worker"]) for outcome in outcomes if isinstance(outcome, Done) and outcome.value)


def test_workers_join_and_leave_while_it_runs(cluster: Cluster, tmp_path: Path) -> None:
    """One is killed, one leaves as it should, two come later: every stage has one outcome, and few ran twice."""
    for name in ("first", "leaves", "dies"):
        cluster.add(name)
    running = DaskEngine(cluster.address, imports=()).run(
        meetings((20, 3), (40, 5)), execute, WorkerSettings(store=tmp_path), lambda event: None
    )
    outcomes = [next(running)[1] for _ in range(8)]
    for name, how in (("dies", signal.SIGKILL), ("leaves", signal.SIGTERM)):
        cluster.workers[name].send_signal(how)
        outcomes += [next(running)[1] for _ in range(3)]
    for name in ("late", "later"):
        cluster.add(name)
    outcomes += [outcome for _, outcome in running]
    where = workers_of(outcomes)
    assert where.total() == 60
    assert {"first", "late", "later"} <= set(where)
    ran = times_run(tmp_path)
    assert len(ran) == 61
    assert sum(ran.values()) <= 61 + 2 * 2  # what two workers were at, and had finished without having said so


def test_stages_go_where_the_gpu_is(cluster: Cluster, tmp_path: Path) -> None:
    for name, *options in (("plain",), ("gpu", "--resources", "GPU=1"), ("other",)):
        cluster.add(name, *options)
    for device, expected in (("cuda", {"gpu"}), ("cpu", {"plain", "gpu", "other"})):
        (tmp_path / device).mkdir()
        settings = WorkerSettings(store=tmp_path / device, device=device)
        one = meetings((12, len(expected)))
        running = DaskEngine(cluster.address, imports=()).run(one, execute, settings, lambda event: None)
        assert set(workers_of([outcome for _, outcome in running])) == expected


def test_a_gpu_that_no_worker_tells_of_is_not_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("plain")
    settings = WorkerSettings(store=tmp_path, device="cuda")
    running = DaskEngine(cluster.address, imports=()).run(meetings((2, 1)), execute, settings, lambda event: None)
    assert len(list(running)) == 2
