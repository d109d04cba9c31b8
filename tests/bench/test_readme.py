"""What README shows, works: its plugin runs, its suite is valid, its commands exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from boards import planned, scored
from sparring.catalogue import discover
from sparring.cli.main import COMMANDS
from sparring.suite import load_suite

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_the_plugin_attacks(install: Callable[..., Path], tmp_path: Path) -> None:
    install("readme-shift", block("python"))
    plan = planned(["digits"], ["logistic"], ["shift[eps=0.4]", "shift[eps=0]"], catalogue=discover())
    attacked, untouched = (outcome["metrics"] for outcome in scored(plan, tmp_path / "store").values())
    assert attacked["budget-linf-max"] == pytest.approx(0.4, abs=1e-6)
    assert attacked["robust-accuracy"] < untouched["robust-accuracy"]
    assert untouched["budget-linf-max"] == 0


def test_the_suite_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(block("yaml"), encoding="utf-8")
    suite = load_suite(file, discover())
    assert suite.name == "my-board"
    assert {str(threat.epsilon) for attack, threat in suite.attacks if attack.name == "pgd"} == {"0.1", str(8 / 255)}


def test_its_commands_exist() -> None:
    shown = set(re.findall(r"^    sparring (\w+)", README, re.MULTILINE))
    assert shown
    assert shown <= set(COMMANDS)
