"""The records of several runs of one board in one folder: shards, or a submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparring import media
from sparring.journal import Results
from sparring.record import Record, Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Merged:
    """How a merge went.

    Attributes:
        new: cells that had no record.
        same: records that said what was known.
        renewed: cells whose record was made with other code, parameters or data than the one before.
        conflicts: cells of which two records of the same key say different things; the first stays.
        missing: kept files that a record names and that are not there, or are not what their name says.
    """

    new: int = 0
    same: int = 0
    renewed: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def merge(results: Results, other: Results, wanted: Mapping[str, str] | None, merged: Merged) -> None:
    """Take into `results` the records of `other`, with the files they name. Nothing in them is run.

    Args:
        wanted: cell id -> key that the suite asks for now; where only one of two records has it, that one stays.
            `None`: not known, the later one stays.
        merged: is added to.

    Raises:
        ResultsUnwritable: what was taken so far is journalled.
    """
    for cell, theirs in sorted(other.by_cell.items()):
        ours = results.by_cell.get(cell)
        if ours is not None and ours.same_result(theirs):
            merged.same += 1
            continue
        if ours is not None and ours.key == theirs.key and not _failed(ours):
            if not _failed(theirs):
                merged.conflicts.append(cell)
            continue
        if ours is not None and wanted is not None and ours.key == wanted.get(cell):
            continue
        if ours is None:
            merged.new += 1
        elif ours.key != theirs.key:
            merged.renewed.append(cell)
        merged.missing += [name for name in _media(theirs) if not _taken(results, other.folder, name)]
        results.append(theirs)


def _failed(record: Record) -> bool:
    return record.outcome.state == "failed"


def _media(record: Record) -> list[str]:
    return sorted(set(record.outcome.media.values())) if isinstance(record.outcome, Scored) else []


def _taken(results: Results, folder: Path, name: str) -> bool:
    """Whether the file is there, and what its name says."""
    path = folder / media.FOLDER / f"{name}.safetensors"
    if not path.is_file() or path.is_symlink():
        return False
    content: NDArray[np.uint8] = np.fromfile(path, dtype=np.uint8)
    if media.digest(content) != name:
        return False
    results.publish(content)
    return True
