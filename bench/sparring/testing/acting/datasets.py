"""Data sets: a few images of each part, and what is said when their files are not at hand."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from sparring.contracts import DatasetUnavailable
from sparring.data import ArrayDataset, dataset_problem
from sparring.stage import RuleBroken
from sparring.testing.check import Impossible
from sparring.testing.performance import Performance, watched
from sparring.testing.scene import Scene
from sparring.testing.subject import Subject

ROOT_VARIABLE: Final = "SPARRING_DATA"
"""Names the folder where files of data sets lie."""

COMMON: Final = ("classes", "limit_train", "limit_test")
"""Parameters that every data set has."""


def dataset(subject: Subject, scene: Scene) -> Performance:
    """A data set is loaded, with as many images of each part as the scene has rows."""
    return loaded(subject, scene, {"limit_train": scene.rows, "limit_test": scene.rows})


def loaded(subject: Subject, scene: Scene, changes: dict[str, Any]) -> Performance:
    """A data set is loaded with other parameters, those of `changes` that it has.

    Raises:
        Impossible: its files are not at hand.
    """
    params = subject.selection.params
    known = {f.name for f in fields(params)}
    with watched(scene) as (seen, ctx):
        try:
            with seen.acting("load"):
                plugin = subject.spec.load(replace(params, **{k: v for k, v in changes.items() if k in known}))
                seen.keep("load", plugin.load(ctx))
        except Exception as raised:
            if isinstance(raised.__cause__, DatasetUnavailable):
                raise Impossible(f"its files are not at hand: {raised.__cause__}") from None
            raise
    return seen


def parts_of(subject: Subject, seen: Performance) -> tuple[ArrayDataset, ArrayDataset]:
    """(train, test). Raises `RuleBroken` where that is not what was returned."""
    parts = seen.returned["load"]
    if not isinstance(parts, tuple) or len(parts) != 2 or not all(isinstance(part, ArrayDataset) for part in parts):
        raise RuleBroken(f"{subject} returned {_told(parts)}; expected two ArrayDataset, (train, test)")
    return parts


def _told(value: Any) -> str:
    inside = f" of {', '.join(type(part).__name__ for part in value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__}{inside}"


def legal_dataset(subject: Subject, seen: Performance) -> None:
    """Raise `RuleBroken` where a part is not what the contract says."""
    for name, part in zip(("training", "test"), parts_of(subject, seen), strict=True):
        if problem := dataset_problem(part.pixels, part.y, part.classes):
            raise RuleBroken(f"{subject}, {name} set: {problem}")
        if len(part) == 0:
            raise RuleBroken(f"{subject} has no {name} images")


@contextmanager
def nothing_at_hand() -> Iterator[Path]:
    """No files in the local root, the caches and the home folder, and no network. Yields the local root."""
    found = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="sparring-check-") as folder:
        root, home = Path(folder, "data"), Path(folder, "home")
        root.mkdir()
        home.mkdir()
        os.environ |= {
            ROOT_VARIABLE: str(root),
            "SPARRING_CACHE": str(home / "cache"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "HOME": str(home),
        }
        try:
            with _no_network():
                yield root
        finally:
            os.environ.clear()
            os.environ.update(found)


@contextmanager
def _no_network() -> Iterator[None]:
    """Names are not resolved and connections are refused, in this process."""

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError("this conformance check goes without a network")

    resolve = socket.getaddrinfo
    socket.getaddrinfo = refused
    socket.socket.connect = refused  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.getaddrinfo = resolve
        del socket.socket.connect  # the one it inherits is there again
