"""Every check catches the metric that breaks it, and no other check does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bad_metrics
import pytest
from verdicts import found_against, installed

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing.checks import CHECKS
from sparring.testing.tryout import Tryout

BAD = [(check, spec.name) for check, spec in bad_metrics.BAD]
SOURCE = Path(bad_metrics.__file__).read_text()


@pytest.fixture(scope="module", autouse=True)
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("bad"), "sparring-bad-metrics", SOURCE):
        yield


def test_a_good_metric_breaks_nothing() -> None:
    assert found_against("good-survivors") == {}


@pytest.mark.parametrize(("check", "name"), BAD)
def test_a_bad_metric_breaks_one_check(check: str, name: str) -> None:
    found = found_against(name)
    assert set(found) == {check}, found
    assert all(f"  {part}: " in found[check] for part in ("expected", "seen", "to mend"))


def test_a_heavy_import_breaks_one_check(tmp_path: Path) -> None:
    renamed = SOURCE.replace('"good-', '"heavy-').replace('f"breaks-', 'f"heavily-')
    heavy = renamed.replace("import os\n", "import os\n\nimport scipy\n", 1)
    with installed(tmp_path, "sparring-heavy-metric", heavy):
        found = found_against("heavy-survivors")
    assert set(found) == {"light-declaration"}
    assert "scipy" in found["light-declaration"]


def test_every_check_of_metrics_has_its_bad_metric() -> None:
    catalogue = discover()
    metrics = [Tryout.of(catalogue, f"metric/{name}") for name in catalogue.names(Kind.METRIC)]
    applying = {check.name for check in CHECKS if any(check.applies(metric) for metric in metrics)}
    assert applying == {*(check for check, _ in BAD), "light-declaration"}
