"""Kills at random moments, stores that cannot be written, runs side by side: the numbers are those of a calm run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from user import User, records, soon

pytestmark = pytest.mark.e2e

METRICS = "metrics: [clean-accuracy, robust-accuracy, asr, budget-linf-max, forward-queries, share]"


def suite(numbers: int, repetitions: int, pause: float) -> str:
    """A board of `2 * numbers * repetitions` cells, whose perturbing takes `pause` seconds each."""
    return f"""
repetitions: {repetitions}
datasets: [{{digits: {{limit_train: 200, limit_test: 60}}}}]
victims: [means]
attacks: [{{nudge: {{pause: {pause}, number: {list(range(numbers))}}}}}]
defences: [none, jpeg]
evaluation: {{samples: 40}}
{METRICS}
"""


def journalled(folder: Path) -> dict[str, bytes]:
    """The whole lines of the journal by cell; each cell has one."""
    journal = folder / "results" / ".journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    cells = [line.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode() for line in whole]
    assert Counter(cells).total() == len(set(cells)), "a finished cell was recorded again"
    return dict(zip(cells, whole, strict=True))


def table(folder: Path) -> bytes:
    return (folder / "table.csv").read_bytes()


@pytest.mark.parametrize("moments", [3, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.timeout(7200)
def test_a_driver_killed_at_random_moments_loses_and_doubles_nothing(user: User, moments: int) -> None:
    """Some kills come while it starts or plans, most while cells are finished, the last ones while it renders."""
    text = suite(numbers=max(4, moments // 2), repetitions=3, pause=0.05)
    calm = user.board("calm", text)
    whole = user.sparring("run", "calm", "--cache", "own", "--workers", "2").scored
    folder, chance = user.board("killed", text), random.Random(moments)
    begun: list[int] = []
    for moment in range(moments):
        before = journalled(folder)
        process = user.start("run", "killed", "--engine", "serial" if moment % 3 == 2 else "local", "--workers", "2")
        if moment % 5 == 4:
            time.sleep(chance.uniform(0, 4))
        else:
            enough = len(before) + chance.randrange(1, 2 + 2 * whole // moments)
            assert soon(lambda n=enough: len(journalled(folder)) >= n or process.poll() is not None, 300)  # type: ignore[misc]  # noqa: B023
            time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert soon(lambda: not user.processes(), 30), "something goes on after the driver was killed"
        if not (folder / "results" / "cells.jsonl").exists():  # else it was at its end
            after = journalled(folder)
            assert before.items() <= after.items(), "a finished cell was lost or changed"
            begun.append(len(after))
    resumed = user.sparring("run", "killed", "--workers", "2")
    assert resumed.scored + resumed.cached == whole
    print(
        f"{moments} kills, cells finished after each: {begun}; {resumed.cached} of {whole} were kept at the last resume"
    )
    assert begun[-1] > 0
    assert records(folder) == records(calm)
    assert table(folder) == table(calm)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_processes_killed_at_random_cost_their_own_cells_only(user: User, kills: int) -> None:
    """Any process that the driver started, at any moment: stages, the template, the shells that guard them."""
    text = suite(numbers=max(4, 2 * kills), repetitions=2, pause=0.1)
    calm = user.board("calm", text)
    whole = user.sparring("run", "calm", "--cache", "own", "--workers", "2").scored
    folder, chance = user.board("robbed", text), random.Random(kills)
    process = user.start("run", "robbed", "--workers", "2")
    killed: list[str] = []
    while len(killed) < kills and process.poll() is None:
        time.sleep(chance.uniform(0.1, 1.0))
        victims = [found for found in user.processes() if found.pid != process.pid]
        if victims and len(journalled(folder)) > len(killed):
            victim = chance.choice(sorted(victims, key=lambda found: found.pid))
            with contextlib.suppress(psutil.Error):
                killed.append(victim.name())
                victim.send_signal(signal.SIGKILL)
    out, errors = process.communicate(timeout=1000)
    assert process.returncode in (0, 1), out + errors
    assert soon(lambda: not user.processes(), 30)
    assert killed
    outcomes = Counter(record["outcome"]["state"] for record in records(folder).values())
    kinds = {record["outcome"].get("kind") for record in records(folder).values()} - {None}
    print(f"killed {Counter(killed)}; then {dict(outcomes)}")
    assert outcomes.total() == whole
    assert kinds <= {"killed"}
    mended = user.sparring("run", "robbed", "--workers", "2")
    assert (mended.scored, mended.cached) == (outcomes["failed"], outcomes["scored"])
    assert records(folder) == records(calm)
    assert table(folder) == table(calm)


def test_two_runs_on_one_store_at_once(user: User) -> None:
    """Two boards that share all their stages: both are right, whoever computes what."""
    text = suite(numbers=6, repetitions=2, pause=0.05)
    calm = user.board("calm", text)
    user.sparring("run", "calm", "--cache", "own", "--engine", "serial")
    folders = [user.board(name, text) for name in ("left", "right")]
    processes = [user.start("run", folder.name, "--workers", "1") for folder in folders]
    for process in processes:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, out + errors
    for folder in folders:
        assert records(folder) == records(calm)
        assert table(folder) == table(calm)
    assert "whole" in user.sparring("cache", "verify").out


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("no permission to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_store_that_cannot_be_written_is_one_sentence_and_can_be_read(user: User, mount: Path) -> None:
    text = suite(numbers=2, repetitions=1, pause=0)
    user.board("first", text)
    user.sparring("run", "first", "--engine", "serial", "--cache", str(mount))
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    folder = user.board("second", text)
    refused = user.sparring("run", "second", "--engine", "serial", "--cache", str(mount), code=2)
    assert refused.err == f"sparring: cannot write to the artifact store in {mount}/artifacts (Read-only file system)\n"
    assert sorted(path.name for path in folder.rglob("*")) == ["suite.yaml"]
    assert "(0 not in the store)" in user.sparring("plan", "second", "--cache", str(mount)).out
    assert user.sparring("cache", "verify", "--cache", str(mount)).code == 0
    assert "measure" in user.sparring("cache", "ls", "--cache", str(mount)).out
    gone = user.sparring("cache", "gc", "--down-to", "0B", "--cache", str(mount), code=2)
    assert "cannot write" in gone.err


def test_a_clock_that_jumps_back_between_runs(user: User) -> None:
    """Files of the store and of the board are dated tomorrow: they count nonetheless, and what is computed anew too."""
    text = suite(numbers=2, repetitions=1, pause=0)
    folder = user.board("board", text)
    first = user.sparring("run", "board", "--engine", "serial")
    expected, tomorrow = table(folder), time.time() + 24 * 3600
    for path in [*(user.home / "cache").rglob("*"), *folder.rglob("*")]:
        os.utime(path, (tomorrow, tomorrow))
    again = user.sparring("run", "board", "--engine", "serial")
    assert (again.cached, again.stages) == (first.scored, 0)
    fresh = user.sparring("run", "board", "--engine", "serial", "--fresh")
    assert (fresh.scored, fresh.stages) == (first.scored, first.stages)
    assert table(folder) == expected
    assert "whole" in user.sparring("cache", "verify").out
