"""The kit as an author meets it: in pytest, and on the command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sparring.cli.check import command
from sparring.errors import BadInput
from sparring.testing import parametrize_plugins
from sparring.testing.checks import CHECKS

ROOT = Path(__file__).parents[2]


def run_pytest(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_mine.py").write_text(test)
    path = os.pathsep.join([*(str(ROOT / source) for source in ("bench", "plugins")), *sys.path])
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "test_mine.py"]
    variables = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


CONFORMANCE = """
from sparring.testing import Trial, parametrize_plugins

@parametrize_plugins("label-flip", known_failures={"stops-in-time": "it was slow once"})
def test_conformance(trial: Trial) -> None:
    trial.run()
"""


def test_ids_name_plugin_and_check_and_a_known_failure_must_fail(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, CONFORMANCE)
    assert "PASSED test_mine.py::test_conformance[label-flip:same-seed-same-bytes]" in done.stdout
    assert "FAILED test_mine.py::test_conformance[label-flip:stops-in-time]" in done.stdout
    assert "[XPASS(strict)] it was slow once" in done.stdout
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('"label-flop"', "there is no plugin 'label-flop'; did you mean 'label-flip'?"),
        ('"none"', "attack and defence 'none' share the name; write attack/none or defence/none"),
        (
            '"label-flip", known_failures={"run": "x"}',
            "known failure 'run': there is no such check; did you mean 'runs'?",
        ),
        ('"label-flip", known_failures={"runs": " "}', "known failure 'runs': give the reason"),
        ("", "name at least one plugin, or the distribution"),
        ('distribution="sparring-nothing"', "no plugin comes from a distribution 'sparring-nothing'; is it installed?"),
        ('"pgd[stepz=3]"', "pgd has no parameter 'stepz'; did you mean 'steps'?"),
    ],
)
def test_mistakes_of_an_author_are_told_in_a_sentence(arguments: str, told: str) -> None:
    with pytest.raises(pytest.UsageError, match="parametrize_plugins: ") as raised:
        eval(f"parametrize_plugins({arguments})", {"parametrize_plugins": parametrize_plugins})
    assert told in str(raised.value)


def test_the_command_prints_a_line_a_check() -> None:
    done = CliRunner().invoke(
        command, ["label-flip", "--only", "runs", "--only", "legal-answers"], standalone_mode=False
    )
    assert done.return_value == 0
    assert [line.split()[:2] for line in done.output.splitlines()[1:3]] == [["✓", "runs"], ["✓", "legal-answers"]]
    assert "2 of 2 checks kept, 0 broken, 0 not judged here" in done.output


def test_the_command_lists_the_checks() -> None:
    done = CliRunner().invoke(command, ["--list"], standalone_mode=False)
    assert [line.split()[0] for line in done.output.splitlines()] == [check.name for check in CHECKS]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "there is no plugin 'nothing'"),
        (["label-flip", "--only", "rums"], "there is no check 'rums'; did you mean 'runs'?"),
        ([], "name at least one plugin"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=re.escape(told)):
        CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
