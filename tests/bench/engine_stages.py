"""Stages for the tests of the engines: what one does stands in its settings. Imported by the engines' processes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from sparring.contracts import DeadlineExceeded
from sparring.graph import Graph
from sparring.stage import Done, Report, RuleBroken, Stage, StageName, WorkerSettings
from sparring.store import StoreFull


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def stage(name: str, *inputs: str, **settings: Any) -> Stage:
    """A stage called `name` that reads the stages called `inputs`."""
    needed = {f"input{n}": key(other) for n, other in enumerate(inputs)}
    return Stage(key=key(name), name=StageName.FIT, label=name, inputs=needed, settings=settings)


def graph(stages: Iterable[Stage], goals: Iterable[str]) -> Graph:
    return Graph({one.key: one for one in stages}, [key(goal) for goal in goals])


def execute(stage: Stage, settings: WorkerSettings, report: Report) -> Done:
    """Do what the stage's settings say, and leave a mark in the store's folder for every time it ran."""
    with open(settings.store / "ran", "a") as marks:
        marks.write(f"{stage.label}\n")
    begun = time.monotonic()
    value = _ACTS[str(stage.settings.get("act", "nothing"))](stage.settings, settings)
    return Done(key=stage.key, name=stage.name, label=stage.label, value=value, seconds=time.monotonic() - begun)


def times_run(folder: Path) -> dict[str, int]:
    """How often each stage was begun."""
    marks = (folder / "ran").read_text().splitlines() if (folder / "ran").exists() else []
    return {label: marks.count(label) for label in set(marks)}


def _nothing(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    return {"ran": True}


def _meet(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    """Which worker runs it, by the variable that it was started with; waits until so many have begun such a stage."""
    worker = os.environ["WORKER"]
    (settings.store / f"met-{worker}").touch()
    while len(list(settings.store.glob("met-*"))) < mine["workers"]:
        time.sleep(0.02)
    time.sleep(mine["seconds"])
    return {"worker": worker}


def _print(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    print("a plugin prints" * 1000, flush=True)
    os.write(1, b"and so does C code\n" * 1000)
    return {}


def _environment(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    return {"threads": os.environ["OMP_NUM_THREADS"], "pid": os.getpid(), "torch": "torch" in sys.modules}


def _raise(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    raise ValueError("several\nlines of " + "x" * 1000)


def _rule(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    raise RuleBroken("attack pgd moved a pixel by 0.5; allowed is 0.3")


def _deadline(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    raise DeadlineExceeded("stopped at 3 of 10")


def _queries(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    raise type("QueryBudgetExceeded", (RuntimeError,), {"__module__": "sparring.model"})("too many")


def _exit(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    sys.exit("no more")


def _die(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    os.write(2, b"the last words\n")
    os._exit(3)


def _crash(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def _loop(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    while True:
        pass


def _regex(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter lock for ever
    return {}


def _hog(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    held = [b"\1" * (1 << 25) for _ in range(48)]  # 1.5 GiB, then wait to be found
    time.sleep(60)
    return {"held": len(held)}


def _family_hog(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    subprocess.run([sys.executable, "-c", "import time; x = b'1' * (800 << 20); time.sleep(60)"], check=True)
    return {}


def _start(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    """Start a process that outlives the stage unless something ends it, then go on for ever."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (settings.store / "grandchild").write_text(str(process.pid))
    return _loop(mine, settings)


def _wait(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    time.sleep(float(mine["seconds"]))
    return {}


def _wait_for_file(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    while not (settings.store / str(mine["file"])).exists():
        time.sleep(0.01)
    return {}


def _kill_worker(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    parents = psutil.Process().parents()  # the template, if there is one, is the worker's child
    next(parent for parent in parents if "spawn_main" in " ".join(parent.cmdline())).kill()
    time.sleep(60)
    return {}


def _kill_parent(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    assert os.getppid() != mine["spared"]
    os.kill(os.getppid(), signal.SIGKILL)
    return {}


def _parent(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    time.sleep(float(mine["seconds"]))
    return {"parent": os.getppid(), "pid": os.getpid()}


def _unpicklable(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    return {"function": lambda: None}


def _full(mine: Mapping[str, Any], settings: WorkerSettings) -> dict[str, Any]:
    raise StoreFull(f"no space left for the artifact store {settings.store}")


_ACTS = {name[1:]: act for name, act in dict(globals()).items() if name.startswith("_") and callable(act)}
