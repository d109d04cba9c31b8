"""Every check catches the victim that breaks it, and no other check does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bad_victims
import pytest
import torch
from verdicts import found_against, installed

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing.checks import CHECKS
from sparring.testing.tryout import Tryout

BAD = [(check, spec.name) for check, spec in bad_victims.BAD]
SOURCE = Path(bad_victims.__file__).read_text()


@pytest.fixture(scope="module", autouse=True)
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("bad"), "sparring-bad-victims", SOURCE):
        yield


@pytest.mark.parametrize("name", ["good-linear", "good-frozen", "good-rounds"])
def test_a_good_victim_breaks_nothing(name: str) -> None:
    assert found_against(name) == {}


@pytest.mark.parametrize(("check", "name"), BAD)
def test_a_bad_victim_breaks_one_check(check: str, name: str) -> None:
    if check == "cuda-agrees" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    found = found_against(name)
    assert set(found) == {check}, found
    assert all(f"  {part}: " in found[check] for part in ("expected", "seen", "to mend"))


def test_a_heavy_import_breaks_one_check(tmp_path: Path) -> None:
    renamed = SOURCE.replace('"good-', '"heavy-').replace('f"breaks-', 'f"heavily-')
    heavy = renamed.replace("import os\n", "import os\n\nimport torch\n", 1)
    with installed(tmp_path, "sparring-heavy-victim", heavy):
        found = found_against("heavy-linear")
    assert set(found) == {"light-declaration"}
    assert "torch" in found["light-declaration"]


def test_every_check_of_victims_has_its_bad_victim() -> None:
    catalogue = discover()
    victims = [Tryout.of(catalogue, f"victim/{name}") for name in catalogue.names(Kind.VICTIM)]
    applying = {check.name for check in CHECKS if any(check.applies(victim) for victim in victims)}
    assert applying == {*(check for check, _ in BAD), "light-declaration"}
