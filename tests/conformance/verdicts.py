"""What the conformance kit says of a plugin."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributions import make_distribution
from sparring.catalogue import discover
from sparring.testing import Verdict, trials_of
from sparring.testing.tryout import Tryout


@contextmanager
def installed(folder: Path, name: str, source: str) -> Iterator[None]:
    """A distribution of one module, with that source, that this process and those it spawns can discover."""
    make_distribution(folder, name, "1.0", source)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name.replace("-", "_"), None)


def found_against(selector: str) -> dict[str, str]:
    """The checks that a plugin breaks, with what is said about it."""
    told = {trial.check.name: trial.verdict() for trial in trials_of(Tryout.of(discover(), selector), {})}
    return {name: why for name, (verdict, why) in told.items() if verdict is Verdict.VIOLATED}
