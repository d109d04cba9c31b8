"""A board on several machines: shards, joined again."""

from __future__ import annotations

import json
import shutil

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


@pytest.mark.parametrize("text", ["4/3", "0/1", "x"])
def test_what_is_no_shard_is_one_sentence(user: User, text: str) -> None:
    user.board("b", BOARD)
    assert "shard" in user.sparring("run", "b", "--shard", text, code=2).err
