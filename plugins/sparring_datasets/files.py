"""Where the files of data sets lie: a local root, or a cache that is filled by downloading."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sparring.contracts import DatasetUnavailable

ROOT_VARIABLE = "SPARRING_DATA"
CACHE_VARIABLE = "SPARRING_CACHE"

T = TypeVar("T")
Read = Callable[[str, bool], T]
"""(folder, download) to the data; raises `RuntimeError` when they are not there, as torchvision does."""


def local_root() -> Path | None:
    """The folder that `SPARRING_DATA` names."""
    named = os.environ.get(ROOT_VARIABLE)
    return Path(named).expanduser() if named else None


def cache_folder() -> Path:
    """Where downloads go: `data` in `SPARRING_CACHE`, by default in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser() / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sparring" / "data"


def read_local(read: Read[T]) -> T | None:
    """What `read` finds, whole, in the local root or else in the cache, without a download; `None`: nothing."""
    for folder in (local_root(), cache_folder()):
        try:
            if folder is not None and folder.is_dir():
                return read(str(folder), False)
        except (RuntimeError, OSError, AssertionError, ValueError):  # missing, or damaged: torchvision raises either
            continue
    return None


def read_or_download(name: str, read: Read[T]) -> T:
    """What `read` finds in the local root, in the cache, or, last, by downloading into the cache.

    The download goes to a folder of its own and is moved when it is complete, so that a broken one is never read and
    two processes do not write to the same file.

    Raises:
        DatasetUnavailable: the download failed.
    """
    found = read_local(read)
    if found is not None:
        return found
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        try:
            data = read(str(staging), True)
            for part in staging.iterdir():
                if not (cache / part.name).exists():
                    part.replace(cache / part.name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except (OSError, RuntimeError) as refusal:
        reason = " ".join(str(refusal).split())
        raise DatasetUnavailable(f"data set {name}: {_looked_in()}, and the download failed: {reason}") from refusal
    return data


def _looked_in() -> str:
    root = local_root()
    if root is None:
        return f"not in the cache {cache_folder()} ({ROOT_VARIABLE}, a folder with the files, is not set)"
    return f"neither whole in {root} ({ROOT_VARIABLE}) nor in the cache {cache_folder()}"
