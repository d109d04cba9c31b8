"""What the harness costs beside the stages it runs, and what a second worker gains: ratios within one run, on the whole
digits board, a quarter to half an hour. By hand, on an idle machine: `pytest -n 0 -m slow tests/performance`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from sparring.engine.cluster import usable_cores
from sparring.engine.limits import ALLOCATOR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROUNDS = 2
SUITE = Path(__file__).parents[2] / "leaderboards/digits/suite.yaml"
BY_HAND = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sparring.catalogue import discover
from sparring.execution import execute
from sparring.plan import make_plan
from sparring.stage import WorkerSettings
from sparring.suite import load_suite
catalogue = discover()
plan = make_plan(load_suite(Path(sys.argv[1]), catalogue), catalogue)
settings = WorkerSettings(store=Path(sys.argv[2]))
for stage in plan.stages_of(plan.cells).values():
    execute(stage, settings, lambda done, total, note: None)
"""


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float


def cost_of(command: list[str], folder: Path) -> Cost:
    """Wall and CPU seconds of a command with all its descendants, read off every 0.1 s."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[tuple[int, float], float] = {}
    started = time.monotonic()
    variables = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    stop = threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not stop.wait(0.1):
            for found in _family(root):
                try:
                    times = found.cpu_times()
                    seen[found.pid, found.create_time()] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    stop.set()
    watcher.join()
    assert process.returncode == 0, errors.decode()
    return Cost(time.monotonic() - started, sum(seen.values()))


def _family(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def sparring(folder: Path, workers: int) -> Cost:
    command = [sys.executable, "-c", "from sparring.cli.main import main; main()", "run", "digits"]
    return cost_of([*command, "--workers", str(workers), "--cache", str(folder / "cache")], folder)


def by_hand(folder: Path, at_once: int) -> float:
    """CPU seconds of all stages one after the other in a plain process, while `at_once` such processes run, each on a
    core of its own: what cores that share a cache take from each other is not the harness's doing."""
    command = [sys.executable, "-c", BY_HAND, str(SUITE), "store"]
    with ThreadPoolExecutor(at_once) as pool:
        costs = list(pool.map(lambda n: cost_of(command, folder / str(n)).cpu, range(at_once)))
    return statistics.mean(costs)


@pytest.mark.parametrize("workers", range(1, 1 + min(2, usable_cores())))
def test_cpu_of_a_run_is_that_of_its_stages(tmp_path: Path, workers: int) -> None:
    """Total CPU of the harness (driver, template, and the processes that run stages) against the same stages by hand,
    with as many cores busy; both keep freed memory. In turns, because a machine may be a tenth slower some minutes
    later."""
    harness, plain = [], []
    for turn in range(ROUNDS):
        plain.append(by_hand(tmp_path / f"hand{turn}", at_once=workers))
        harness.append(sparring(tmp_path / f"harness{turn}", workers).cpu)
    ratio = statistics.median(harness) / statistics.median(plain)
    print(f"CPU with {workers} workers: harness {harness}, by hand {plain}, ratio {ratio:.3f}")
    assert ratio <= 1.10


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_two_workers_gain(tmp_path: Path) -> None:
    if (busy := psutil.cpu_percent(interval=2)) > 30:
        pytest.skip(f"the machine is busy ({busy:.0f} %): the ratio would say nothing")
    one = sparring(tmp_path / "one", workers=1)
    two = sparring(tmp_path / "two", workers=2)
    ratio = one.wall / two.wall
    print(f"wall: one worker {one.wall:.1f} s, two {two.wall:.1f} s, ratio {ratio:.2f}")
    assert ratio >= 1.6
