"""Boards from the command line: by name, by path, by selectors, on every engine."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from user import User, records, soon

pytestmark = pytest.mark.e2e

SMALL = """
title: A small board
repetitions: 2
datasets: [{digits: {limit_train: 200, limit_test: 100}}]
victims: [means, {logistic: {epochs: 2}}]
attacks: [none, gaussian-noise, fgsm, nudge, {label-flip: {fraction: 0.3}}]
defences: [none, jpeg]
evaluation: {samples: 40}
limits: {seconds: 60}
"""


def test_one_cell_from_an_empty_folder_and_again(user: User) -> None:
    board = ("--dataset", "digits[limit_train=100]", "--victim", "means", "--attack", "nudge[eps=[0.1,0.2]]")
    first = user.sparring("run", *board, "--engine", "serial")
    assert first.scored == 2
    (folder,) = (user.home / "leaderboards").iterdir()
    assert folder.name.startswith("adhoc-")
    for name in ("README.md", "table.csv", "index.html"):
        assert (folder / name).is_file()
        assert f"leaderboards/{folder.name}/{name}" in first.out
    assert len(list(csv.DictReader((folder / "table.csv").open()))) > 0

    again = user.sparring("run", *board)  # the engine does not matter: nothing is left to do
    assert (again.scored, again.cached, again.stages) == (0, 2, 0)
    assert again.seconds < 5
    by_path = user.sparring("run", f"leaderboards/{folder.name}")
    assert (by_path.cached, by_path.stages) == (2, 0)
    refused = user.sparring("run", *board, "--defence", "jpeg", "--out", f"leaderboards/{folder.name}", code=2)
    assert "is another board" in refused.err


def test_the_bundled_board_by_name(user: User) -> None:
    told = user.sparring("run", "digits", "--only", "logistic/none/none", "--engine", "serial")
    assert told.scored == 3
    folder = user.home / "leaderboards" / "digits"
    assert "name: digits" in (folder / "suite.yaml").read_text()
    assert len(records(folder)) == 3
    assert "3 of " in told.out  # how many cells the suite has is known
    assert "logistic" in (folder / "README.md").read_text()
    planned = user.sparring("plan", "digits")
    assert " 3 recorded already" in planned.out

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for board in ("digits", "leaderboards/digits"):
        assert "Written" in user.sparring("leaderboard", "render", board).out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_engines_agree_and_run_every_stage_once(user: User) -> None:
    """From empty caches: equal records, one execution for each distinct key, whoever works."""
    seen = []
    for name, *engine in (("a", "--engine", "serial"), ("b", "--workers", "1"), ("c", "--workers", "2")):
        folder = user.board(name, SMALL)
        cache = ("--cache", f"cache-{name}")
        planned = user.sparring("plan", name, *cache)
        assert "38 to run" in planned.out
        told = user.sparring("run", name, *cache, *engine)
        assert (told.scored, told.failed, told.numbers[3]) == (38, 0, 6)  # fgsm needs gradients of means
        assert f"through {told.stages} distinct stages" in planned.out
        done = user.counts()
        assert len(done) == len(set(done))
        seen.append((told.stages, done, list(records(folder).values())))
    assert seen[0] == seen[1] == seen[2]

    only = user.sparring("run", "a", "--cache", "cache-a", "--only", "means/nudge*/none", "--fresh")
    assert (only.scored, only.cached) == (2, 0)
    assert [line.split()[0] for line in user.counts()] == ["fit", "fit", "perturb", "perturb"]
    assert list(records(user.home / "a").values()) == seen[0][2]
    strict = user.sparring("plan", "a", "--cache", "cache-a")
    assert "38 recorded already" in strict.out


def test_strict_runs_make_versions_part_of_the_key(user: User) -> None:
    folder = user.board(
        "b", "datasets: ['digits[limit_train=100]']\nvictims: [means]\nattacks: [none]\ndefences: [none]\n"
    )
    assert user.sparring("run", "b", "--engine", "serial").stages == 5
    loose = records(folder)
    assert user.sparring("run", "b", "--engine", "serial", "--strict").stages == 5
    strict = records(folder)
    assert [r["outcome"] for r in loose.values()] == [r["outcome"] for r in strict.values()]
    assert [r["key"] for r in loose.values()] != [r["key"] for r in strict.values()]
    assert user.sparring("run", "b", "--strict").stages == 0


@pytest.fixture
def cluster(user: User) -> Iterator[str]:
    """A scheduler and two workers, started as the manual of Dask says."""
    file = user.home / "scheduler.json"
    user.home.mkdir(exist_ok=True)
    common = {"env": user.environment, "cwd": user.home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    where = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", *where], **common)]  # type: ignore[call-overload]
    assert soon(file.exists, 30)
    worker = [*dask, "worker", "--nthreads", "1", "--no-nanny", *where]
    processes += [subprocess.Popen(worker, **common) for _ in range(2)]  # type: ignore[call-overload]
    yield json.loads(file.read_text())["address"]
    for process in reversed(processes):
        process.terminate()
        process.wait(20)


def test_a_dask_cluster(user: User, cluster: str) -> None:
    suite = SMALL.replace("repetitions: 2", "repetitions: 1").replace("{logistic: {epochs: 2}}", "")
    folder = user.board("far", suite.replace("means, ]", "means]"))
    told = user.sparring("run", "far", "--engine", "dask", "--scheduler", cluster)
    assert (told.scored, told.failed) == (8, 0)
    done = user.counts()
    assert len(done) == len(set(done)) > 0
    near = user.sparring("run", "far", "--cache", "other", "--engine", "serial", "--fresh")
    assert near.stages == told.stages
    assert len(records(folder)) == 8 + told.numbers[3]
    assert user.counts() == done


def test_no_cluster_is_one_sentence(user: User) -> None:
    user.board("far", SMALL)
    told = user.sparring("run", "far", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:9", code=2)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in told.err


def test_what_is_looked_up(user: User) -> None:
    for kind in ("attacks", "defences", "victims", "datasets", "metrics"):
        plugins = json.loads(user.sparring("list", kind, "--json").out)["plugins"]
        assert {plugin["kind"] for plugin in plugins} == {kind[:-1]}
    assert "nudge" in user.sparring("list", "attacks").out
    assert "seconds that it sleeps" in user.sparring("info", "nudge").out
    assert json.loads(user.sparring("schema", "record").out)["properties"]["key"]
    assert json.loads(user.sparring("schema", "suite").out)["properties"]["attacks"]
    user.board("small", SMALL)
    explained = user.sparring("explain", "small", "*/logistic*/fgsm*/jpeg@adaptive/r1").out
    for line in ("1. load digits", "fit logistic", "perturb fgsm", "measure", "to run", "not recorded"):
        assert line in explained
    assert "not applicable: fgsm needs gradients" in user.sparring("explain", "small", "*/means/fgsm*/none/r0").out
    listed = user.sparring("plan", "small", "--cells").out
    assert "6 not applicable" in listed
    assert "6 x fgsm needs gradients; means offers decisions, scores" in listed
