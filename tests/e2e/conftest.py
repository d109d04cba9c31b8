"""The user whom these tests are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from third_party import MEANS, NUDGE, SHARE
from user import User


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """Has a quick victim `means`, an attack `nudge` and a metric `share` installed."""
    found = User(tmp_path / "user")
    found.install("sparring-means", MEANS)
    found.install("sparring-nudge", NUDGE)
    found.install("sparring-share", SHARE)
    yield found
    left = found.processes()
    for process in left:
        process.kill()
    assert not left
