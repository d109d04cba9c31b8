"""What other people publish: a started plugin of each kind, and two distributions, installed and run as they would."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from beside import Beside

from sparring.plugin import Kind

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Started:
    """What `sparring new` made: a project, and the command that it told."""

    project: Path
    trial: list[str]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    return Beside(tmp_path_factory.mktemp("started"))


@pytest.fixture(scope="module")
def started(beside: Beside) -> dict[Kind, Started]:
    """One of each kind, installed as its author does."""
    found = {}
    for kind in Kind:
        told = beside.sparring("new", kind, f"my-{kind}").splitlines()
        found[kind] = Started(beside.folder / f"sparring-my-{kind}", shlex.split(told[-1]))
    beside.install(*(part for one in found.values() for part in ("-e", f"{one.project}[test]")))
    return found


def test_nothing_else_was_installed(beside: Beside, started: dict[Kind, Started]) -> None:
    assert beside.installed() == sorted(f"sparring-my-{kind}" for kind in Kind)
    listed = json.loads(beside.sparring("list", "--json"))
    assert not listed["problems"]
    assert {(p["kind"], p["name"], p["version"]) for p in listed["plugins"] if "my-" in p["distribution"]} == {
        (kind.value, f"my-{kind}", "0.1.0") for kind in started
    }


@pytest.mark.parametrize("kind", Kind)
def test_a_started_plugin_passes_its_own_tests(kind: Kind, beside: Beside, started: dict[Kind, Started]) -> None:
    told = beside.pytest(started[kind].project).splitlines()[-1]
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    assert int(passed[1]) >= 5, told
    assert "xfailed" not in told


@pytest.mark.parametrize("kind", Kind)
def test_the_command_that_was_told_runs_it(kind: Kind, beside: Beside, started: dict[Kind, Started]) -> None:
    command, *arguments = started[kind].trial
    assert command == "sparring"
    board = beside.folder / f"board-{kind}"
    engine = "local" if kind is Kind.ATTACK else "serial"  # the command as it was told, once; the others sooner
    told = beside.sparring(*arguments, "--out", str(board), "--engine", engine)
    expected = {Kind.DEFENCE: 2}.get(kind, 1)  # behind a guard, the attack that knows it is a cell of its own
    assert f"{expected} cells scored, 0 cached, 0 failed, 0 not applicable" in told
    assert f"my-{kind}" in (board / "table.csv").read_text(encoding="utf-8")


def test_a_started_plugin_is_strictly_typed(started: dict[Kind, Started]) -> None:
    sources = [str(file) for one in started.values() for file in (one.project / "src").glob("*.py")]
    assert len(sources) == len(Kind)
    done = subprocess.run([sys.executable, "-m", "mypy", *sources], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """Somebody who has installed a distribution that works, with its extra, and one that cannot be imported."""
    found = Beside(tmp_path_factory.mktemp("published"))
    for name in ("example_plugin", "example_plugin_broken"):  # copies: building leaves files in the source
        shutil.copytree(REPOSITORY / "tests" / name, found.folder / name)
    found.install("./example_plugin[test]", "./example_plugin_broken")
    return found


def test_the_list_says_where_plugins_come_from_and_what_is_wrong(published: Beside) -> None:
    assert published.installed() == ["sparring-crosshatch", "sparring-smudge"]
    told = published.sparring("list")
    assert re.search(r"^  crosshatch +sparring-crosshatch 1\.4\.0  Thin diagonal lines", told, re.MULTILINE)
    assert re.search(r"^  open-close +sparring-crosshatch 1\.4\.0  Morphological", told, re.MULTILINE)
    problem = "  sparring-smudge 0.3.0 (smudge): cannot be imported: ImportError: cannot import name 'SmudgeSpec'"
    assert told.partition("\nproblems\n")[2].startswith(problem)
    assert "pip install 'sparring-crosshatch[morphology]'" in published.sparring("info", "open-close")


def test_the_rest_goes_on_beside_a_broken_one(published: Beside) -> None:
    attacks = ["--attack", "none", "--attack", "crosshatch"]
    defences = ["--defence", "none", "--defence", "open-close[window=[1,2]]"]
    product = ["--dataset", "digits", "--victim", "cnn", *attacks, *defences]
    told = published.sparring("run", *product, "--out", "board", "--engine", "serial")
    # crosshatch meets the filter unaware and aware of it; a filter of one pixel is objected to
    assert "5 cells scored, 0 cached, 0 failed, 3 not applicable" in told

    lines = (published.folder / "board" / "results" / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = {record["cell"]["id"]: record["outcome"] for record in map(json.loads, lines)}
    hatched, clean = (
        outcomes[f"digits/cnn/{attack}/none/r0"]["metrics"] for attack in ("crosshatch[epsilon=0.2]", "none")
    )
    assert hatched["budget-linf-max"] == pytest.approx(0.2, abs=1e-6)
    assert hatched["forward-queries"] == 6
    assert hatched["robust-accuracy"] < clean["clean-accuracy"]
    reasons = {reason for o in outcomes.values() if o["state"] == "not applicable" for reason in o["reasons"]}
    assert reasons == {"open-close with a window of one pixel leaves every image as it is; that is the defence none"}


def test_a_published_distribution_passes_its_own_tests(published: Beside) -> None:
    told = published.pytest(published.folder / "example_plugin")
    assert re.search(r"\d+ passed", told.splitlines()[-1])


def test_the_list_of_what_is_allowed_keeps_others_from_being_imported(published: Beside) -> None:
    trace = published.folder / "trace"
    published.sparring("list", SMUDGE_TRACE=str(trace))
    assert trace.exists()
    trace.unlink()

    allowed = {"SMUDGE_TRACE": str(trace), "SPARRING_PLUGINS": "sparring,sparring-crosshatch"}
    assert "problems" not in published.sparring("list", **allowed)
    crossed = ["--dataset", "digits", "--victim", "logistic[epochs=1]", "--attack", "crosshatch"]
    assert "1 cells scored" in published.sparring("run", *crossed, "--workers", "1", **allowed)  # a process of its own
    assert not trace.exists()
    assert "crosshatch" not in published.sparring("list", SPARRING_PLUGINS="sparring")
