"""Every check catches the defence that breaks it, and no other check does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bad_defences
import pytest
import torch
from verdicts import found_against, installed

from sparring.testing.checks import defences

SOURCE = Path(bad_defences.__file__).read_text()


@pytest.fixture(scope="module", autouse=True)
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("bad"), "sparring-bad-defences", SOURCE):
        yield


@pytest.mark.parametrize("name", [spec.name for spec in bad_defences.GOOD])
def test_a_good_defence_breaks_nothing(name: str) -> None:
    assert found_against(name) == {}


@pytest.mark.parametrize("name", [spec.name for spec in bad_defences.BAD])
def test_a_bad_defence_breaks_one_check(name: str) -> None:
    check = name.partition("-by-")[0]
    if check == "cuda-agrees" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    found = found_against(name)
    assert set(found) == {check}, found
    assert all(f"  {part}: " in found[check] for part in ("expected", "seen", "to mend"))


def test_every_check_of_defences_alone_has_its_bad_defence() -> None:
    broken = {spec.name.partition("-by-")[0] for spec in bad_defences.BAD}
    assert {check.name for check in defences.CHECKS} <= broken
