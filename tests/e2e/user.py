"""Running the command in fresh processes, as a user does, with plugins of one's own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from distributions import make_distribution

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it, and their children

COMMAND = [sys.executable, "-c", "from sparring.cli.main import main; main()"]
SUMMARY = re.compile(
    r"(\d+) cells scored, (\d+) cached, (\d+) failed, (\d+) not applicable; (\d+) stages run, (\d+) from the store"
)
MARK = "SPARRING_TEST_OF"


@dataclass(frozen=True)
class Told:
    """What a command said and how it ended; the numbers are those of the summary of a run."""

    code: int
    out: str
    err: str
    seconds: float
    numbers: list[int] = field(default_factory=list)

    @property
    def scored(self) -> int:
        return self.numbers[0]

    @property
    def cached(self) -> int:
        return self.numbers[1]

    @property
    def failed(self) -> int:
        return self.numbers[2]

    @property
    def stages(self) -> int:
        return self.numbers[4]


class User:
    """Somebody with a folder, a cache and some plugins.

    Attributes:
        home: where commands run.
        site: plugins that are installed.
        counted: what counting plugins did.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.site, self.mark = home, home / "site", uuid.uuid4().hex
        self.counted = home / "counted"
        home.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"SPARRING_CACHE": str(self.home / "cache"), "COUNT": str(self.counted), MARK: self.mark}
        return os.environ | own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def install(self, name: str, source: str) -> None:
        make_distribution(self.site, name, "1.0", source)

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.site / f"{name.replace('-', '_')}.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A command in a session of its own, as in a terminal."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.home,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def sparring(self, *arguments: str, code: int = 0, **environment: str) -> Told:
        """Run a command to its end, which must be `code`."""
        begun = time.monotonic()
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=400)
        assert process.returncode == code, out + err
        assert "Traceback (most recent" not in out + err
        found = SUMMARY.search(out)
        numbers = [int(n) for n in found.groups()] if found else []
        return Told(process.returncode, out, err, time.monotonic() - begun, numbers)

    def board(self, name: str, suite: str) -> Path:
        folder = self.home / name
        folder.mkdir(exist_ok=True)
        (folder / "suite.yaml").write_text(suite)
        return folder

    def counts(self) -> list[str]:
        """What the plugins did since the last time this was asked."""
        lines = self.counted.read_text().splitlines() if self.counted.exists() else []
        self.counted.unlink(missing_ok=True)
        return sorted(lines)

    def processes(self) -> list[psutil.Process]:
        """All that this user started and that is still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def records(folder: Path) -> dict[str, Any]:
    """The records of a board by cell id, without what may differ from run to run: seconds and provenance."""
    found = {}
    for line in (folder / "results" / "cells.jsonl").read_text().splitlines():
        record = json.loads(line)
        del record["seconds"], record["provenance"]
        assert record["cell"]["id"] not in found
        found[record["cell"]["id"]] = record
    return found


def soon(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()
