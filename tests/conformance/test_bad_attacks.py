"""Every check catches the attack that breaks it, and no other check does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bad_attacks
import pytest
import torch
from click.testing import CliRunner
from verdicts import found_against, installed

from sparring.catalogue import discover
from sparring.cli.check import command
from sparring.plugin import Kind
from sparring.testing.checks import CHECKS
from sparring.testing.tryout import Tryout

BAD = [spec.name.removeprefix("breaks-") for spec in bad_attacks.BAD]
SOURCE = Path(bad_attacks.__file__).read_text()


@pytest.fixture(scope="module", autouse=True)
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("bad"), "sparring-bad-attacks", SOURCE):
        yield


@pytest.mark.parametrize("name", ["good-noise", "good-flips"])
def test_a_good_attack_breaks_nothing(name: str) -> None:
    assert found_against(name) == {}


@pytest.mark.parametrize("check", BAD)
def test_a_bad_attack_breaks_one_check(check: str) -> None:
    if check == "cuda-agrees" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    found = found_against(f"breaks-{check}")
    assert set(found) == {check}, found
    assert all(f"  {part}: " in found[check] for part in ("expected", "seen", "to mend"))


def test_a_heavy_import_breaks_one_check(tmp_path: Path) -> None:
    renamed = SOURCE.replace('"good-', '"heavy-').replace('f"breaks-', 'f"heavily-')
    heavy = renamed.replace("import os\n", "import os\n\nimport torch\n", 1)
    with installed(tmp_path, "sparring-heavy-attack", heavy):
        found = found_against("heavy-noise")
    assert set(found) == {"light-declaration"}
    assert "torch" in found["light-declaration"]


def test_every_check_of_attacks_has_its_bad_attack() -> None:
    catalogue = discover()
    attacks = [Tryout.of(catalogue, f"attack/{name}") for name in catalogue.names(Kind.ATTACK)]
    applying = {check.name for check in CHECKS if any(check.applies(attack) for attack in attacks)}
    assert applying == {*BAD, "light-declaration"}


def test_a_plugin_that_does_not_run_is_told_once() -> None:
    done = CliRunner().invoke(command, ["breaks-runs"], standalone_mode=False)
    assert done.return_value == 1
    assert done.output.count("does not run") == 1
    assert "perturb raised ValueError: nothing works (sparring_bad_attacks.py, line " in done.output
