"""What is edited is run again, and nothing else: keys against edits of plugins and suites."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from user import User, records

pytestmark = pytest.mark.e2e

SUITE = """
title: Before
seed: 1
repetitions: 2
datasets: [{digits: {limit_train: 200, limit_test: 60}}]
victims: [means]
attacks: [none, gaussian-noise, {nudge: {number: [1, 2]}}]
defences: [none]
evaluation: {samples: 40}
limits: {seconds: 50}
"""
CELLS = 2 * 4


@pytest.fixture
def board(user: User) -> Path:
    """A board that was run."""
    folder = user.board("board", SUITE)
    assert user.sparring("run", "board", "--engine", "serial").scored == CELLS
    user.counts()
    return folder


def to_run(user: User) -> Counter[str]:
    """What `plan` says is missing, by stage."""
    planned = user.sparring("plan", "board").out
    return Counter({name: int(count) for count, name in re.findall(r"^ +(\d+) x (\w+)$", planned, re.MULTILINE)})


def rerun(user: User) -> int:
    """Run the board; the stages that were run, which must be those that `plan` announced."""
    announced = to_run(user)
    told = user.sparring("run", "board", "--engine", "serial")
    assert told.stages == announced.total()
    return told.stages


def outcomes(folder: Path, attack: str) -> list[object]:
    return [record["outcome"] for name, record in records(folder).items() if f"/{attack}" in name]


def test_edits_of_plugins_rerun_what_used_them(user: User, board: Path) -> None:
    before = records(board)
    user.edit("sparring-nudge", "# upwards", "# upwards, as the paper says")
    user.edit("sparring-nudge", '"""Moves every pixel a little', '"""Moves all pixels a little')
    user.edit("sparring-means", "\n\n\nclass Means:", "\n\nclass Means:")
    assert rerun(user) == 0
    assert records(board) == before

    user.edit("sparring-nudge", "rng.uniform(0.5, 1.0)", "rng.uniform(0.9, 1.0)")
    assert to_run(user) == {"perturb": 4, "predict": 4, "measure": 4}
    rerun(user)
    assert [line.split()[0] for line in user.counts()] == ["perturb"] * 4
    after = records(board)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if "/nudge" in name}
    assert outcomes(board, "nudge") != [r["outcome"] for name, r in before.items() if "/nudge" in name]

    user.edit("sparring-share", "== 3", "== 4")
    assert to_run(user) == {"measure": CELLS}
    rerun(user)
    assert user.counts() == []
    shares = [record["outcome"]["metrics"]["share"] for record in records(board).values()]
    assert shares != [record["outcome"]["metrics"]["share"] for record in after.values()]

    user.edit("sparring-means", "x, y = x[rows], train.y[rows]", "x, y = x[rows[::2]], train.y[rows[::2]]")
    announced = to_run(user)
    assert (announced["load"], announced["fit"], announced["measure"]) == (0, 2, CELLS)
    rerun(user)
    assert sum(line.startswith("fit") for line in user.counts()) == 2


def test_edits_of_the_suite(user: User, board: Path) -> None:
    file, before = board / "suite.yaml", records(board)
    page = (board / "README.md").read_text()
    file.write_text(SUITE.replace("title: Before", "title: After").replace("seconds: 50", "seconds: 40"))
    assert rerun(user) == 0
    assert records(board) == before
    assert (board / "README.md").read_text() == page.replace("Before", "After")

    file.write_text(SUITE.replace("repetitions: 2", "repetitions: 3"))
    assert to_run(user)["fit"] == 1  # what was there stays
    file.write_text(SUITE.replace("number: [1, 2]", "number: [2, 3]"))
    assert to_run(user) == {"perturb": 2, "predict": 2, "measure": 2}
    file.write_text(SUITE.replace("samples: 40", "samples: 41"))
    assert (to_run(user)["load"], to_run(user)["fit"]) == (0, 0)

    file.write_text(SUITE.replace("seed: 1", "seed: 2"))
    rerun(user)
    after = records(board)
    assert {name: record["key"] for name, record in after.items()}.items().isdisjoint(
        {name: record["key"] for name, record in before.items()}.items()
    )
    assert outcomes(board, "none") != [r["outcome"] for name, r in before.items() if "/none/none" in name]
    assert rerun(user) == 0


def test_uninstalled_plugin_leaves_the_leaderboard_readable(user: User, board: Path) -> None:
    page = (board / "README.md").read_text()
    (user.site / "sparring_nudge.py").unlink()
    refused = user.sparring("run", "board", code=2)
    assert "board/suite.yaml:7: attacks: there is no attack 'nudge'" in refused.err
    assert "1 plugin problem" in refused.err
    assert "sparring-nudge 1.0 (plugins): cannot be imported" in user.sparring("list").out
    rendered = user.sparring("leaderboard", "render", "board")
    assert "from the records alone" in rendered.err
    assert "'nudge'" in rendered.err
    assert "nudge" in (board / "README.md").read_text()
    assert (board / "README.md").read_text().splitlines()[0] == page.splitlines()[0]


def test_results_of_other_code_are_named_when_only_some_are_renewed(user: User, board: Path) -> None:
    assert "recorded with other code" not in user.sparring("run", "board", "--engine", "serial").err
    user.edit("sparring-means", "\n\n\nclass Means:", "\n\n\nSCALE = 1.0\n\n\nclass Means:")
    some = user.sparring("run", "board", "--engine", "serial", "--only", "none/none")
    assert f"{CELLS - 2} cells were recorded with other code" in some.err
    assert "'sparring run board' renews them" in some.err
    assert "recorded with other code" not in user.sparring("run", "board", "--engine", "serial").err


def test_only_what_changed_is_renewed_on_request(user: User, board: Path) -> None:
    nothing = user.sparring("run", "board", "--engine", "serial", "--changed")
    assert (nothing.scored, nothing.stages) == (0, 0)
    user.edit("sparring-nudge", "# upwards", "# upwards, as the paper says")
    (board / "suite.yaml").write_text(SUITE.replace("attacks: [", "attacks: [{gaussian-noise: {eps: 0.05}}, "))
    before = records(board)
    user.edit("sparring-means", "\n\n\nclass Means:", "\n\n\nSCALE = 1.0\n\n\nclass Means:")
    told = user.sparring("run", "board", "--engine", "serial", "--changed")
    assert told.scored == CELLS
    assert records(board).keys() == before.keys(), "cells that were never run are not run now"
    assert user.sparring("run", "board", "--engine", "serial").scored == 2
