"""Every check catches the data set that breaks it, and no other check does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import bad_datasets
import pytest
from verdicts import found_against, installed

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Verdict, trials_of
from sparring.testing.acting.datasets import nothing_at_hand
from sparring.testing.checks import CHECKS
from sparring.testing.tryout import Tryout

BAD = [(check, spec.name) for check, spec in bad_datasets.BAD]
SOURCE = Path(bad_datasets.__file__).read_text()


@pytest.fixture(scope="module", autouse=True)
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("bad"), "sparring-bad-datasets", SOURCE):
        yield


def test_a_good_data_set_breaks_nothing() -> None:
    assert found_against("good-bars") == {}


@pytest.mark.parametrize(("check", "name"), BAD)
def test_a_bad_data_set_breaks_one_check(check: str, name: str) -> None:
    found = found_against(name)
    assert set(found) == {check}, found
    assert all(f"  {part}: " in found[check] for part in ("expected", "seen", "to mend"))


def test_files_that_are_missing_are_no_fault_of_the_data_set() -> None:
    told = {trial.check.name: trial.verdict() for trial in trials_of(Tryout.of(discover(), "absent"), {})}
    assert told["names-missing-files"] == (Verdict.KEPT, "")
    assert told["runs"][0] is Verdict.IMPOSSIBLE
    assert told["runs"][1].startswith("its files are not at hand: data set absent: not in ")
    assert {verdict for verdict, _ in told.values()} == {Verdict.KEPT, Verdict.IMPOSSIBLE}


def test_the_network_comes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with nothing_at_hand(), pytest.raises(OSError, match="without a network"):
            socket.create_connection(server.getsockname())
        socket.create_connection(server.getsockname()).close()


def test_a_heavy_import_breaks_one_check(tmp_path: Path) -> None:
    renamed = SOURCE.replace('"good-', '"heavy-').replace('f"breaks-', 'f"heavily-').replace('"absent"', '"away"')
    heavy = renamed.replace("import os\n", "import os\n\nimport sklearn\n", 1)
    with installed(tmp_path, "sparring-heavy-dataset", heavy):
        found = found_against("heavy-bars")
    assert set(found) == {"light-declaration"}
    assert "sklearn" in found["light-declaration"]


def test_every_check_of_data_sets_has_its_bad_data_set() -> None:
    catalogue = discover()
    datasets = [Tryout.of(catalogue, f"dataset/{name}") for name in catalogue.names(Kind.DATASET)]
    applying = {check.name for check in CHECKS if any(check.applies(dataset) for dataset in datasets)}
    assert applying == {*(check for check, _ in BAD), "light-declaration"}
