"""What README shows, works: its tutorial ends in a board, its suite is valid, its commands and hooks exist."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sparring import hookspecs
from sparring.catalogue import discover
from sparring.cli.main import COMMANDS
from sparring.hookspecs import PROJECT
from sparring.suite import load_suite

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STEP = re.compile(
    r'^```\w+ title="(?P<file>[^"]+)"\n(?P<text>.*?)^```$|^```.*?^```$|^    (?P<line>\S[^\n]*)$',
    re.DOTALL | re.MULTILINE,
)
"""A file to be written, anything else between fences, or a line of the shell."""


def section(title: str) -> str:
    """From a heading to the next one of its level."""
    level = title.partition(" ")[0]
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^{level} |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found.group(1)


def outside_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_the_suite_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    shown = re.search(r"^```yaml\n(.*?)^```$", section("## Writing a suite"), re.DOTALL | re.MULTILINE)
    assert shown is not None
    file.write_text(shown.group(1), encoding="utf-8")
    suite = load_suite(file, discover())
    assert suite.name == "my-board"
    assert {str(threat.epsilon) for attack, threat in suite.attacks if attack.name == "pgd"} == {"0.1", str(8 / 255)}


def test_its_commands_exist() -> None:
    shown = set(re.findall(r"(?:^    |`)sparring (\w+)", outside_fences(README), re.MULTILINE))
    assert {"run", "list", "contracts"} <= shown
    assert shown <= set(COMMANDS)


# the tutorial, followed to the letter

COMMAND_LINES = {"sparring": '-c "from sparring.cli.main import main; main()"', "pytest": "-m pytest"}


@dataclass
class Reader:
    """Somebody who does what the tutorial says, in a folder of their own.

    Attributes:
        home: where everything lies.
        here: the folder that commands run in; `cd` moves it.
        said: what each command printed, in order.
    """

    home: Path
    here: Path = field(init=False)
    said: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.here = self.home / "work"
        self.site, self.bin = self.home / "site", self.home / "bin"
        for folder in (self.here, self.site, self.bin):
            folder.mkdir(parents=True)
        for name, arguments in COMMAND_LINES.items():
            command = self.bin / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            command.chmod(0o755)

    def follow(self, text: str) -> None:
        for step in STEP.finditer(text):
            if step["file"]:
                file = self.here / step["file"]
                file.parent.mkdir(exist_ok=True)
                file.write_text(step["text"], encoding="utf-8")
            elif (step["line"] or "").startswith("pip install"):
                self.install()
            elif step["line"]:
                self.do(step["line"])

    def do(self, line: str) -> str:
        """Run one line of the shell; the folder that it ends in is that of the next."""
        path = os.pathsep.join([str(self.site), str(ROOT / "bench"), str(ROOT / "plugins")])
        mine = {"PYTHONPATH": path, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        env = os.environ | mine | {"SPARRING_CACHE": str(self.home / "cache")}
        shell = ["bash", "-ec", f'{line}\npwd > "{self.home / "pwd"}"']
        done = subprocess.run(shell, cwd=self.here, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        self.here = Path((self.home / "pwd").read_text().strip())
        self.said[line] = done.stdout
        return done.stdout

    def install(self) -> None:
        """What an editable installation leaves behind: the package in reach, and the entry points of its project."""
        project = tomllib.loads((self.here / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        package = project["name"].replace("-", "_")
        (self.site / package).symlink_to(self.here / package)
        info = self.site / f"{package}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = [f"{name} = {target}" for name, target in project["entry-points"][PROJECT].items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{PROJECT}]", *points, ""]))

    def records(self, board: str) -> list[dict[str, Any]]:
        lines = (self.here / board / "results" / "cells.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Has followed the tutorial."""
    found = Reader(tmp_path_factory.mktemp("tutorial"))
    found.follow(section("## Writing a plugin"))
    return found


def test_the_tutorial_s_plugins_are_found(reader: Reader) -> None:
    told = json.loads(reader.do("SPARRING_PLUGINS=sparring-tutorial sparring list --json"))
    assert {(each["kind"], each["name"]) for each in told["plugins"]} == {
        ("attack", "momentum"),
        ("defence", "mean-filter"),
        ("dataset", "gratings"),
    }
    assert told["problems"] == []
    assert re.search(r"^  momentum +sparring-tutorial 0\.1\.0 ", reader.said["sparring list attacks"], re.MULTILINE)
    assert "Dong et al. 2018" in reader.do("sparring info momentum")


def test_the_tutorial_s_plugins_conform(reader: Reader) -> None:
    told = reader.said["sparring check momentum mean-filter gratings"].splitlines()
    plugins = [line for line in told if line and not line.startswith(" ")]
    assert plugins == [
        f"{plugin}, of sparring-tutorial 0.1.0"
        for plugin in ("attack momentum", "defence mean-filter", "dataset gratings")
    ]
    kept = {line.split()[1] for line in told if line.startswith("  ✓")}
    assert {"same-seed-same-bytes", "keeps-epsilon", "ignores-neighbours", "heeds-classes"} <= kept
    assert not [line for line in told if line.startswith(("  ✗", "  ·"))]


def test_the_tutorial_s_conformance_test_covers_all_its_plugins(reader: Reader) -> None:
    told = reader.do("pytest -p no:cacheprovider -v -k 'parameters-survive or keeps-epsilon'")
    passed = set(re.findall(r"test_conformance\[(\S+)\] PASSED", told))
    plugins = ("momentum", "mean-filter", "gratings")
    assert passed == {"momentum:keeps-epsilon", *(f"{plugin}:parameters-survive" for plugin in plugins)}


def test_the_tutorial_s_board_says_what_readme_says_of_it(reader: Reader) -> None:
    records = reader.records("my-board")
    assert len(records) == 8 + 2  # adaptive attacks on the filter
    assert {record["outcome"]["state"] for record in records} == {"scored"}
    right = {record["cell"]["id"]: record["outcome"]["metrics"] for record in records}

    def accuracy(data: str, defence: str) -> float:
        return float(right[f"{data}/mlp/momentum[epsilon=0.25]/{defence}/r0"]["robust-accuracy"])

    for data in ("gratings", "digits[limit_train=500]"):
        assert right[f"{data}/mlp/none/none/r0"]["clean-accuracy"] > 0.85
        assert accuracy(data, "none") < 0.4
        assert accuracy(data, "mean-filter@adaptive") < accuracy(data, "mean-filter@oblivious")
    assert accuracy("gratings", "none") < accuracy("gratings", "mean-filter@oblivious")


def test_the_tutorial_s_attack_uses_its_budget_and_its_queries(reader: Reader) -> None:
    attacked = [
        r["outcome"]["metrics"] for r in reader.records("my-board") if r["cell"]["attack"]["name"] == "momentum"
    ]
    for metrics in attacked:
        assert metrics["budget-linf-max"] == pytest.approx(0.25, abs=1e-6)
        assert metrics["forward-queries"] == metrics["gradient-queries"] == 10


def test_records_carry_what_info_says_of_the_plugins(reader: Reader) -> None:
    told = {}
    for name in ("dataset/gratings", "attack/momentum", "defence/mean-filter", "victim/mlp"):
        (facts,) = json.loads(reader.do(f"sparring info {name} --json"))
        told[facts["kind"]] = {key: facts[key] for key in ("name", "distribution", "version", "source")}
    assert told["attack"]["distribution"] == "sparring-tutorial"
    assert len({each["source"] for each in told.values()}) == 4
    cell = next(r["cell"] for r in reader.records("my-board") if r["cell"]["id"].endswith("mean-filter@adaptive/r0"))
    for kind in ("attack", "defence", "victim"):
        assert {key: cell[kind][key] for key in told[kind]} == told[kind]


# hooks


def hooks() -> Iterator[tuple[str, str, str]]:
    """Signature, and the two paragraphs of the docstring, of every hook."""
    for node in ast.parse(inspect.getsource(hookspecs)).body:
        if isinstance(node, ast.FunctionDef):
            what, called = (" ".join(part.split()) for part in (ast.get_docstring(node) or "").split("\n\n"))
            yield f"{node.name}({ast.unparse(node.args).replace(': Cell', '').replace(': Outcome', '')})", what, called


def test_the_table_of_hooks_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+\(.*?\))` \| (.*?) \| (.*?) \|$", section("### Hooks"), re.MULTILINE)
    assert [(name, what, f"Called {called}") for name, what, called in rows] == list(hooks())
    marked = {name for name, function in vars(hookspecs).items() if hasattr(function, f"{PROJECT}_spec")}
    assert {name.partition("(")[0] for name, _, _ in rows} == marked


RAISED = re.compile(r'(?:warn\(\s*|"id": |Suspicion\(\s*|return \(\s*|return )"([a-z]+(?:-[a-z]+)+|collapsed)"')
"""Where the code names a warning."""


def test_every_warning_is_explained() -> None:
    """By its identifier, in the table of warnings; and nothing else is."""
    sources = [ROOT / "bench" / "sparring" / name for name in ("judge.py", "measuring.py", "leaderboard/suspicion.py")]
    raised = {name for source in sources for name in RAISED.findall(source.read_text())}
    rows = [line.split("|")[1] for line in section("### Warnings").splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert explained == raised
