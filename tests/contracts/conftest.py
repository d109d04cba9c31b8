"""Two distributions that exist for these tests only: honest plugins, one per contract, and lying ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cell_bench import CellBench

from distributions import make_distribution


def _joined(folder: Path, name: str, package: str) -> Iterator[Path]:
    """A distribution whose entry point names `package`, an importable package of this folder."""
    make_distribution(folder, name, "1.0", "", {"plugins": package})
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def contract_plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _joined(tmp_path_factory.mktemp("site"), "sparring-contract-plugins", "contract_plugins")


@pytest.fixture(scope="module")
def lying_plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _joined(tmp_path_factory.mktemp("site"), "sparring-lying-plugins", "lying_plugins")


@pytest.fixture(scope="module")
def masking_plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _joined(tmp_path_factory.mktemp("site"), "sparring-masking-plugins", "masking_plugins")


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CellBench:
    """Runs cells with the plugins of the fixture that the test module names as `PLUGINS`."""
    request.getfixturevalue(request.module.PLUGINS)
    return CellBench.in_folder(tmp_path_factory.mktemp("bench"))
