"""`sparring verify` on a board that was run, and on one that somebody made up."""

from __future__ import annotations

import json

import pytest
from user import User

pytestmark = pytest.mark.e2e

BOARD = """
datasets: ['digits[limit_train=150,limit_test=60]']
victims: [means, {logistic: {epochs: 2}}]
attacks: [none, nudge]
defences: [none]
limits: {seconds: 60}
"""


def test_honest_numbers_come_out_again_and_made_up_ones_do_not(user: User) -> None:
    folder = user.board("b", BOARD)
    user.sparring("run", "b", "--engine", "serial")
    file = folder / "results" / "cells.jsonl"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    user.counts()
    told = user.sparring("verify", "b", "--sample", "3", "--seed", "4", "--workers", "1")
    assert "3 of 4 recorded cells, drawn with seed 4" in told.out
    assert told.out.count("the same, to the last bit: ") == 3
    assert user.counts(), "they were computed, not looked up"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["outcome"]["metrics"]["clean-accuracy"] += 0.001
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    wrong = user.sparring("verify", "b", "--sample", "1", "--workers", "1", code=1)
    assert "differs: digits" in wrong.out
    assert "clean-accuracy: published" in wrong.out

    for line in lines:
        line["key"] = "0" * 64
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "has no number that was made with the code" in user.sparring("verify", "b", code=2).err
