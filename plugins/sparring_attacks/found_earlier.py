"""Poisons that an earlier run found and published: used again instead of a search or a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparring.data import Arrays
    from sparring.stored_file import StoredFile


def found_earlier(files: Sequence[StoredFile], seed: int) -> Arrays:
    """The state in the file that was made with the stage's `seed`; a lone file serves every seed.

    Args:
        files: as `evaluation.keep: [state]` publishes them, at least one.

    Raises:
        ValueError: none of several files was made with this seed.
        StoredFileChanged: a file cannot be read.
    """
    if len(files) == 1:
        return files[0].read()[0]
    made_with = {}
    for file in files:
        arrays, about = file.read()
        if about.get("seed") == seed:
            return arrays
        made_with[str(file)] = about.get("seed")
    known = ", ".join(f"{name} with {other}" for name, other in made_with.items())
    raise ValueError(f"none of the stored files was made with the seed of this repetition, {seed} ({known})")
