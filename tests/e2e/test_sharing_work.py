"""A board on several machines: shards, joined again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from user import COMMAND, User, records

pytestmark = pytest.mark.e2e

BOARD = """
title: A shared board
repetitions: 2
datasets: [{digits: {limit_train: 150, limit_test: 60}}]
victims: [means, {logistic: {epochs: 2}}]
attacks: [none, nudge]
defences: [none, jpeg]
limits: {seconds: 60}
"""


WORKFLOW = Path(__file__).parents[2] / ".github" / "workflows" / "leaderboard.yml"


class Runner:
    """A machine that carries out steps of the workflow, as its file has them; `sparring` is the user's."""

    def __init__(self, user: User, where: Path, **environment: str) -> None:
        command = user.home / "bin" / "sparring"
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
        command.chmod(0o755)
        self.where = where
        path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
        own = {"PATH": path, "GITHUB_STEP_SUMMARY": str(user.home / "summary.md"), "BOARD": "small"}
        self.environment = user.environment | own | environment

    def steps(self, job: str, *names: str) -> str:
        steps = {step.get("name"): step for step in yaml.safe_load(WORKFLOW.read_text())["jobs"][job]["steps"]}
        told = ""
        for name in names:
            done = subprocess.run(
                ["bash", "-e", "-c", steps[name]["run"]],
                cwd=self.where,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=200,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            told += done.stdout
        return told


def git(where: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


def test_the_workflow_joins_shards_and_reviews_a_board_that_is_new(user: User) -> None:
    """Its own lines, on machines that share nothing; all but the pull request."""
    whole = user.board("whole", BOARD)
    assert user.sparring("run", "whole", "--engine", "serial", "--cache", "one").scored == 16

    repository = user.home / "repository"
    (repository / "leaderboards").mkdir(parents=True)
    user.board("repository/leaderboards/small", BOARD)
    git(repository, "init")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "a board that was never run")
    for number in ("1", "2"):
        machine = user.home / f"machine-{number}"
        git(user.home, "clone", "repository", machine.name)
        shard = Runner(user, machine, SHARD=f"{number}/2", SPARRING_CACHE=str(machine / "cache"))
        shard.steps("shard", "Run what is not recorded yet")
        shutil.copytree(machine / "leaderboards" / "small", repository / "shards" / f"shard-{number}")

    last = Runner(user, repository, SPARRING_CACHE=str(user.home / "empty"))
    told = last.steps("propose", "Join and render", "Review", "Whether it may be merged")
    assert "16 new, 0 renewed, 0 as they were" in told
    assert "leaderboards/small: sound" in told
    review = (user.home / "summary.md").read_text()
    assert review.startswith("## small\n\n8 new.\n\n### New\n\n")
    assert "leaderboards/small: sound" in review
    changed = {line[3:] for line in git(repository, "status", "--porcelain").splitlines()}
    assert {path for path in changed if not path.startswith("leaderboards/")} == {"review.md"}
    assert "A shared board" in (repository / "leaderboards" / "README.md").read_text()
    outcomes = [
        [(name, record["key"], record["outcome"]) for name, record in records(folder).items()]
        for folder in (repository / "leaderboards" / "small", whole)
    ]
    assert outcomes[0] == outcomes[1]


def test_a_submission_that_contradicts_is_told(user: User) -> None:
    folder = user.board("ours", BOARD)
    user.sparring("run", "ours", "--engine", "serial", "--only", "means/none/none")
    shutil.copytree(folder, user.home / "theirs")
    file = user.home / "theirs" / "results" / "cells.jsonl"
    first, second = map(json.loads, file.read_text().splitlines())
    first["outcome"]["metrics"]["clean-accuracy"] = 1.0
    second["outcome"]["metrics"]["clean-accuracy"] = "<script>"
    file.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    before = records(folder)
    told = user.sparring("leaderboard", "merge", "ours", "theirs", code=1)
    assert "two records of one key differ, the first stays" in told.err
    assert "cells.jsonl:2" in told.err
    assert records(folder) == before
    assert "has no records" in user.sparring("leaderboard", "merge", "ours", "site", code=2).err


def test_a_review_of_two_revisions_says_what_is_worse(user: User) -> None:
    (user.home / "leaderboards").mkdir()
    folder = user.board("leaderboards/small", BOARD)
    user.sparring("run", "small", "--engine", "serial", "--only", "means")
    git(user.home, "init")
    git(user.home, "add", "leaderboards")
    git(user.home, "commit", "-m", "first")
    same = user.sparring("leaderboard", "diff", "HEAD", "leaderboards")
    assert "4 as it was." in same.out

    file = folder / "results" / "cells.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        if line["outcome"]["state"] == "scored":
            line["outcome"]["metrics"]["clean-accuracy"] = 0.01
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    worse = user.sparring("leaderboard", "diff", "HEAD:leaderboards/small", "leaderboards/small", code=1)
    assert "### Worse for the defender" in worse.out
    assert user.sparring("leaderboard", "diff", "leaderboards", "HEAD").code == 0, "the other way it is better"
    for unknown in ("nowhere", "-h:x", "HEAD:nowhere"):
        assert "neither a folder nor" in user.sparring("leaderboard", "diff", "--", unknown, "HEAD", code=2).err


@pytest.mark.parametrize("text", ["4/3", "0/1", "x"])
def test_what_is_no_shard_is_one_sentence(user: User, text: str) -> None:
    user.board("b", BOARD)
    assert "shard" in user.sparring("run", "b", "--shard", text, code=2).err
