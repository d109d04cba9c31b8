"""Every data set of this repository keeps to its contract. Nothing is downloaded: those whose files do not lie in the
folder that SPARRING_DATA names are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Trial, parametrize_plugins

NAMES = [entry.spec.name for entry in discover().entries(Kind.DATASET) if entry.distribution == "sparring"]
SLOW = {"cifar10"}
"""Decompressing its archives takes ten seconds each time."""


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache that cannot be written to."""
    blocked = tmp_path / "cache"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("SPARRING_CACHE", str(blocked))


@parametrize_plugins(*(f"dataset/{name}" for name in NAMES if name not in SLOW))
def test_data_sets(trial: Trial) -> None:
    trial.run()


@pytest.mark.slow
@parametrize_plugins(*(f"dataset/{name}" for name in NAMES if name in SLOW))
def test_slow_data_sets(trial: Trial) -> None:
    trial.run()
