"""A board on several machines: shards, joined again."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from conftest import User, records

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


def test_shards_joined_are_the_board(user: User) -> None:
    whole = user.board("whole", BOARD)
    assert user.sparring("run", "whole", "--engine", "serial", "--cache", "one").scored == 16
    scored = []
    for index in (1, 2, 3):
        user.board(f"part-{index}", BOARD)
        told = user.sparring(
            "run", f"part-{index}", "--engine", "serial", "--shard", f"{index}/3", "--cache", f"c{index}"
        )
        scored.append(told.scored)
    assert scored == [8, 4, 4], "what shares a fit stays together"
    joined = user.board("joined", BOARD)
    told = user.sparring("leaderboard", "merge", "joined", "part-1", "part-2", "part-3")
    assert "16 new, 0 renewed, 0 as they were" in told.out
    outcomes = [
        [(name, record["key"], record["outcome"]) for name, record in records(f).items()] for f in (joined, whole)
    ]
    assert outcomes[0] == outcomes[1]
    again = user.sparring("run", "joined", "--cache", "empty")
    assert (again.cached, again.stages) == (16, 0)


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
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *identity, *arguments], cwd=user.home, check=True, capture_output=True)

    (user.home / "leaderboards").mkdir()
    folder = user.board("leaderboards/small", BOARD)
    user.sparring("run", "small", "--engine", "serial", "--only", "means")
    git("init")
    git("add", "leaderboards")
    git("commit", "-m", "first")
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
