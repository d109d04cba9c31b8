"""Files that are either the old or the new one, never half of each."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable
from pathlib import Path


def replace_if_changed(path: Path, chunks: Iterable[bytes]) -> bool:
    """Make `path` hold `chunks`, durably and in one step; a file that holds them already is not touched.

    Returns:
        Whether the file changed.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            if path.is_file() and filecmp.cmp(fresh, path, shallow=False):
                return False
            os.fsync(file.fileno())
        os.replace(fresh, path)
        sync_folder(path.parent)
        return True
    finally:
        fresh.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
