"""The digits board, made small: whoever computes it and however often, the records say the same, times aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from user import User

from sparring.board import bundled

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]


def small_digits() -> str:
    """All attacks and defences of the bundled board, on fewer images and victims."""
    suite = yaml.safe_load(bundled()["digits"].read_text())
    suite |= {"datasets": [{"digits": {"limit_train": 300, "limit_test": 60}}], "repetitions": 1}
    suite |= {"victims": ["logistic", "cnn", "random-forest"], "limits": {"seconds": 600}}
    return yaml.safe_dump(suite)


def said(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "results" / "cells.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_records_are_the_same_again_and_on_every_engine(user: User) -> None:
    runs = {"serial": ("--engine", "serial"), "again": ("--engine", "serial"), "local": ("--workers", "2")}
    folders = {name: user.board(name, small_digits()) for name in runs}
    told = {name: user.sparring("run", name, "--cache", f"cache-{name}", *engine) for name, engine in runs.items()}
    assert told["serial"].scored > 90
    assert len({(one.scored, one.stages, one.failed) for one in told.values()}) == 1
    expected = said(folders["serial"])
    for folder in folders.values():
        assert said(folder) == expected
        assert (folder / "table.csv").read_bytes() == (folders["serial"] / "table.csv").read_bytes()
