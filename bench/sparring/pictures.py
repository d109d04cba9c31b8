"""Pictures of chosen cells, kept beside the records: `results/pictures/<SHA-256>.png`, and a line for each in an index.

Whoever renders a board may have got its pictures from somebody else: a line of the index is validated, a file is what
its name says, begins like a PNG and is small, and is otherwise never looked into here.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparring.atomic import replace_if_changed

FOLDER: Final = "pictures"
"""In a board's results."""
INDEX: Final = "index.jsonl"

LARGEST: Final = 256 * 2**10
"""Bytes of one file."""
LONGEST_INDEX: Final = 2**20
"""Bytes."""
SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


class PictureLine(BaseModel):
    """A line of the index: which result a picture shows, and how to read it.

    Attributes:
        cell: its id.
        key: content key of the record that was shown; of another record of the cell, this is no picture.
        digest: SHA-256 of the file, its name.
        about: what its rows and columns are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str = Field(max_length=4000)
    key: str = Field(pattern="^[0-9a-f]{64}$")
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    about: str = Field(max_length=2000)


@dataclass(frozen=True, slots=True)
class Picture:
    """A line of the index, and its PNG file."""

    line: PictureLine
    content: bytes


class Pictures:
    """The pictures of a board.

    Attributes:
        by_key: by the key of the record that they show.
        problems: what is wrong with the index or with a file; such pictures are left out.
    """

    def __init__(self, results: Path) -> None:
        self.folder = results / FOLDER
        self.by_key: dict[str, Picture] = {}
        self.problems: list[str] = []
        for number, found in enumerate(self._lines(), start=1):
            if isinstance(found, str):
                self.problems.append(f"results/{FOLDER}/{INDEX}:{number}: {found}")
                continue
            content = self._content(found.digest)
            if isinstance(content, str):
                self.problems.append(f"results/{FOLDER}/{found.digest}.png {content}")
                continue
            self.by_key[found.key] = Picture(found, content)

    def of(self, keys: Mapping[str, str]) -> dict[str, Picture]:
        """Those that show what is recorded now, by cell. `keys`: cell id -> key of its record."""
        return {
            picture.line.cell: picture for key, picture in self.by_key.items() if keys.get(picture.line.cell) == key
        }

    def outdated(self, keys: Mapping[str, str]) -> list[str]:
        """Cells with pictures of another record than theirs, and none of it. `keys`: as in `of`."""
        current = self.of(keys)
        return sorted({found.line.cell for found in self.by_key.values()} - current.keys())

    def save(self, pictures: Mapping[str, Picture], keys: Mapping[str, str]) -> None:
        """Add `pictures` (by cell) to those that `keys` (see `of`) still stand for, and remove all other files.

        Raises:
            OSError: the disk is full or the folder not writable.
        """
        kept = self.of(keys) | dict(pictures)
        self.folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures.values():
            replace_if_changed(self.folder / f"{picture.line.digest}.png", [picture.content])
        lines = (kept[cell].line.model_dump_json().encode() + b"\n" for cell in sorted(kept))
        replace_if_changed(self.folder / INDEX, lines)
        named = {f"{picture.line.digest}.png" for picture in kept.values()}
        for path in self.folder.glob("*.png"):
            if path.name not in named:
                path.unlink()

    def _lines(self) -> Iterator[PictureLine | str]:
        path = self.folder / INDEX
        if not path.exists() and not path.is_symlink():
            return
        content = _plain_file(path, LONGEST_INDEX)
        if content is None:
            yield f"is no plain file of at most {LONGEST_INDEX} bytes"
            return
        for line in content.splitlines():
            try:
                yield PictureLine.model_validate_json(line, strict=True)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                yield f"{'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}"

    def _content(self, digest: str) -> bytes | str:
        """The file, or what is wrong with it."""
        content = _plain_file(self.folder / f"{digest}.png", LARGEST)
        if content is None:
            return f"is not there, or no plain file of at most {LARGEST // 2**10} KiB"
        if hashlib.sha256(content).hexdigest() != digest:
            return "is not what its name says"
        return content if content.startswith(SIGNATURE) else "is no PNG file"


def picture(cell: str, key: str, content: bytes, about: str) -> Picture:
    """Of a PNG file that was just drawn."""
    digest = hashlib.sha256(content).hexdigest()
    return Picture(PictureLine(cell=cell, key=key, digest=digest, about=about), content)


def _plain_file(path: Path, most: int) -> bytes | None:
    """Its bytes; `None` for links, devices, what is larger, and what is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return None
        return file.read()
