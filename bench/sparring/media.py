"""What is kept beside the numbers of a record: one safetensors file for each thing, named by its digest.

A file says the same of itself wherever it was made, so that cells which share a poison share its file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparring.atomic import replace_if_changed
from sparring.data import Arrays
from sparring.tensors import write_tensors

FOLDER: Final = "media"
"""In a board's results."""


def packed(arrays: Arrays, about: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The bytes of the file, to travel among a stage's arrays."""
    buffer = io.BytesIO()
    write_tensors(buffer, arrays, about)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def digest(content: NDArray[np.uint8]) -> str:
    """What the file is called: 64 hexadecimal digits."""
    return hashlib.sha256(content.data).hexdigest()


def publish(results: Path, content: NDArray[np.uint8]) -> Path:
    """Write the file below a results folder, durably; one that is there already stays.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    folder = results / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest(content)}.safetensors"
    replace_if_changed(path, [content.tobytes()])
    return path
