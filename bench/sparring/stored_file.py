"""A file that a parameter names: poison or weights found earlier, and kept beside a board.

Its content is part of every key that the parameter is part of; where it lies is not. Import-light.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparring.data import Arrays

LARGEST = 256 * 2**20
"""Bytes; a larger file is refused, for it is read into memory."""


class StoredFileChanged(RuntimeError):
    """The file is gone, or no longer what it was when the run was planned. The message names it."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A safetensors file of named arrays, and plain JSON beside them (`about`).

    In a suite a path, relative to the suite's folder; on a command line relative to the working folder.

    Attributes:
        sha256: 64 hexadecimal digits, of all bytes of the file.
        path: absolute. Not compared, and no part of a key.
    """

    sha256: str
    path: str = field(compare=False)

    def read(self) -> tuple[Arrays, Mapping[str, Any]]:
        """The arrays (read-only), and what the file says of itself.

        Raises:
            StoredFileChanged: the file cannot be read, is another one by now, or is no safetensors file of Sparring's.
        """
        from sparring.tensors import MalformedTensors, header_of, tensors_in

        try:
            data = Path(self.path).read_bytes()
        except OSError as error:
            raise StoredFileChanged(f"{self.path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise StoredFileChanged(f"{self.path} was changed since the run was planned")
        try:
            header = header_of(data)
        except MalformedTensors as problem:
            raise StoredFileChanged(f"{self.path} is no file that a run has published: {problem}") from problem
        return tensors_in(data, header), header.meta

    def __str__(self) -> str:
        """Short, for labels: the name of the file; of a file that is named by its digest, twelve digits."""
        stem = Path(self.path).stem
        return stem[:12] if re.fullmatch(r"[0-9a-f]{64}", stem) else stem


def stored_file(raw: Any, folder: Path) -> StoredFile:
    """The file that `raw` names: a path, or what `plain_value` made of a `StoredFile`.

    Raises:
        BadInput: there is no such file, or it is too large.
    """
    if isinstance(raw, dict) and set(raw) == {"sha256", "path"}:
        return StoredFile(sha256=str(raw["sha256"]), path=str(raw["path"]))
    path = (folder / str(raw)).resolve()
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{raw} is larger than {LARGEST >> 20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"the file {raw} cannot be read: {error.strerror}") from error
    return StoredFile(sha256=hashlib.sha256(content).hexdigest(), path=str(path))
