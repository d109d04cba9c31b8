"""Runs that are killed, interrupted, robbed of their disk or of a worker: nothing finished is lost, nothing runs on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from user import User, records, soon

pytestmark = pytest.mark.e2e

SLOW = """
repetitions: 3
datasets: [{digits: {limit_train: 200, limit_test: 60}}]
victims: [means]
attacks:
  - none
  - nudge: {pause: 0.25, number: [1, 2, 3, 4]}
defences: [none, jpeg]
evaluation: {samples: 40}
"""
CELLS = 3 * (1 + 4) * 2


def finished(folder: Path) -> int:
    """Whole lines of the journal."""
    journal = folder / "results" / ".journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def test_killed_again_and_again_the_same_command_ends_with_the_same_records(user: User) -> None:
    undisturbed = user.board("undisturbed", SLOW)
    assert user.sparring("run", "undisturbed", "--cache", "own", "--workers", "2").scored == CELLS
    expected, once = records(undisturbed), user.counts()

    folder, chance = user.board("killed", SLOW), random.Random(7)
    for engine in ("local", "serial"):
        before = finished(folder)
        process = user.start("run", "killed", "--engine", engine)
        assert soon(lambda seen=before: finished(folder) > seen, 60)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        process.communicate()
        assert soon(lambda: not user.processes()), "something goes on after the driver was killed"
    kept = finished(folder)
    assert 2 <= kept < CELLS

    resumed = user.sparring("run", "killed")
    assert (resumed.scored, resumed.cached) == (CELLS - kept, kept)
    assert records(folder) == expected
    assert not (folder / "results" / ".journal.jsonl").exists()
    again = user.counts()
    assert set(again) == set(once)
    assert len(again) <= len(once) + 2 * 2  # what each kill cost: the stages that ran

    cached = user.sparring("run", "killed")
    assert (cached.scored, cached.cached, cached.stages) == (0, CELLS, 0)
    assert cached.seconds < 5
    assert records(folder) == expected


def test_interrupted_run_says_how_to_go_on_and_leaves_no_process(user: User) -> None:
    """Meanwhile, a second run of the board is refused before it computes anything."""
    folder = user.board("stopped", SLOW.replace("0.25", "1.5"))
    process = user.start("run", "stopped", "--workers", "2")
    assert soon(lambda: finished(folder) > 0, 60)
    refused = user.sparring("run", "stopped", "--engine", "serial", "--cache", "another", code=2)
    assert "another run is writing there" in refused.err
    assert not list((user.home / "another").rglob("*.safetensors"))

    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does: the whole foreground group gets it
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert "interrupted; finished cells are recorded; the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert soon(lambda: not user.processes())


def test_a_killed_stage_costs_its_own_cells_only(user: User) -> None:
    folder = user.board("robbed", SLOW.replace("0.25", "0.6"))
    process = user.start("run", "robbed", "--workers", "2")
    assert soon(lambda: finished(folder) > 0, 60)
    running = user.counted.with_name("counted.pid")  # who began a slow stage last
    running.unlink(missing_ok=True)  # the first result may be heard before any slow stage begins
    assert soon(lambda: running.exists() and running.read_text() != "", 20)
    os.kill(int(running.read_text()), signal.SIGKILL)
    out, errors = process.communicate(timeout=100)

    outcomes = [record["outcome"] for record in records(folder).values()]
    failed = [outcome for outcome in outcomes if outcome["state"] == "failed"]
    assert len(outcomes) == CELLS
    assert process.returncode == 1, out + errors
    assert 1 <= len(failed) <= 3  # one data set, fit or example is behind few cells
    assert {outcome["kind"] for outcome in failed} == {"killed"}
    assert f"failed (killed) in {len(failed)} cell" in errors
    again = user.sparring("run", "robbed", "--engine", "serial")
    assert (again.scored, again.cached, again.failed) == (len(failed), CELLS - len(failed), 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("full", ["the cache", "the board"])
def test_full_disk_stops_the_run_and_it_goes_on_when_there_is_space(user: User, small_disk: Path, full: str) -> None:
    board = small_disk / "board" if full == "the board" else user.home / "board"
    cache = small_disk / "cache" if full == "the cache" else user.home / "other-cache"
    board.mkdir()
    (board / "suite.yaml").write_text(SLOW.replace("pause: 0.25, ", ""))
    run = ("run", str(board), "--cache", str(cache), "--engine", "serial")
    ballast = small_disk / "ballast"
    room = 300_000 if full == "the cache" else 30_000
    ballast.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - room))

    stopped = user.sparring(*run, code=2)
    assert "No space left on device" in stopped.err
    assert "the same command goes on from there" in stopped.err
    assert len(stopped.err.strip().splitlines()) == 1
    kept = finished(board)
    assert 0 < kept < CELLS

    ballast.unlink()
    assert (user.sparring(*run).cached, len(records(board))) == (kept, CELLS)


def test_damaged_files_are_noticed_and_nothing_else_is_lost(user: User) -> None:
    folder = user.board("hurt", SLOW.replace("pause: 0.25, ", ""))
    first = user.sparring("run", "hurt", "--engine", "serial")
    expected = records(folder)
    cells = folder / "results" / "cells.jsonl"
    lines = cells.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:-40] + b"\n"
    lines[5] = lines[5].replace(b'"scored"', b'"winner"')
    cells.write_bytes(b"".join(lines))
    artifacts = sorted((user.home / "cache" / "artifacts").glob("*/*.safetensors"))
    artifacts[0].write_bytes(artifacts[0].read_bytes()[:-7])
    flipped = bytearray(artifacts[1].read_bytes())
    flipped[len(flipped) // 2] ^= 4
    artifacts[1].write_bytes(flipped)

    assert "results/cells.jsonl:3:" in user.sparring("plan", "hurt").err
    mended = user.sparring("run", "hurt", "--engine", "serial")
    assert (mended.scored, mended.cached) == (2, CELLS - 2)
    assert mended.stages <= 2 < first.stages
    assert "results/cells.jsonl:3:" in mended.err
    assert "results/cells.jsonl:6:" in mended.err
    assert records(folder) == expected
    assert (folder / "results" / "cells.rejected").read_bytes() == lines[2] + lines[5]
