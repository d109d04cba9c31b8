"""Fixtures for all tests. This folder is on `sys.path`, so tests import `distributions` by its name."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from distributions import make_distribution

pytest_plugins = ["zoo"]
collect_ignore = ["example_plugin", "example_plugin_broken"]  # distributions with tests of their own; see e2e

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch comes later; workers must not share their cores

settings.register_profile("sparring", deadline=None)  # a busy machine is no failure
settings.load_profile("sparring")

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """`install(name, source, version="1.0", entry_points=None, requires=())`: a distribution that this process can
    discover until the test ends; all of a test lie in one folder, which is returned, fit for a `PYTHONPATH`."""
    folder = tmp_path / "site"
    modules = set()

    def _install(
        name: str,
        source: str,
        version: str = "1.0",
        entry_points: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
    ) -> Path:
        make_distribution(folder, name, version, source, entry_points, requires)
        modules.add(name.replace("-", "_"))
        importlib.invalidate_caches()
        return folder

    sys.path.insert(0, str(folder))
    yield _install
    sys.path.remove(str(folder))
    for module in modules:
        sys.modules.pop(module, None)
