"""The workflows that GitHub runs: of the right shape, without known mistakes, and with commands that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sparring.cli.main import commands

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
TOOLS = Path(sys.executable).parent


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = shutil.which(tool, path=str(TOOLS)) or shutil.which(tool)
    assert command is not None, f"{tool} is part of the extra 'test'"
    return subprocess.run([command, *arguments], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(("schema", "files"), [("workflows", WORKFLOWS), ("actions", ACTIONS)])
def test_they_are_of_the_shape_that_github_reads(schema: str, files: list[Path]) -> None:
    assert files
    done = run("check-jsonschema", "--builtin-schema", f"vendor.github-{schema}", *map(str, files))
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_have_no_known_mistake() -> None:
    """Injection through expressions, credentials that stay behind, permissions that nobody needs."""
    done = run("zizmor", "--offline", "--no-progress", "--persona", "regular", ".github")
    assert done.returncode == 0, done.stdout + done.stderr


def sparring_lines(file: Path) -> list[str]:
    content = yaml.safe_load(file.read_text())
    jobs = content.get("jobs", {"": content.get("runs")})
    texts = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    return [line.strip() for text in texts for line in text.splitlines() if line.strip().startswith("sparring ")]


def test_their_commands_and_options_exist() -> None:
    lines = [line for file in (*WORKFLOWS, *ACTIONS) for line in sparring_lines(file)]
    assert len(lines) >= 8
    for line in lines:
        words = line.split()[1:]
        name = words[:2] if words[0] == "leaderboard" else words[:1]
        told = CliRunner().invoke(commands, [*name, "--help"])
        assert told.exit_code == 0, line
        for option in re.findall(r" (--[a-z-]+)", line):
            assert option in told.output, line
