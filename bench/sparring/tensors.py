"""The safetensors format: named arrays and a little JSON in one file that holds no code.

Eight bytes (little-endian length of the header), the header as JSON, the arrays. Written here rather than by the
library, so that arrays stream to disk without a second copy in memory and can be read back as views of a mapping.
Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from sparring.data import Arrays

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("bool"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_META = "__metadata__"  # of the format: strings to strings
_SPARRING = "sparring"  # our only entry there: JSON


class MalformedTensors(ValueError):
    """Bytes that are not a safetensors file as `write_tensors` makes it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the arrays.

    Attributes:
        meta: plain JSON.
        entries: dtype, shape, first and last byte (after the header) of each array.
        start: where the first array's bytes begin.
    """

    meta: Mapping[str, Any]
    entries: Mapping[str, tuple[np.dtype[Any], tuple[int, ...], int, int]]
    start: int


def write_tensors(file: IO[bytes], arrays: Arrays, meta: Mapping[str, Any]) -> str:
    """Write arrays and plain JSON; returns the SHA-256 of all bytes written.

    Raises:
        TypeError: an array has another dtype than bool, integers of 8 to 64 bits, or floats of 16 to 64.
        ValueError: `meta` is not plain JSON, or holds NaN or infinity.
    """
    # Widest items first: every array then begins at a multiple of its item size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {_META: {_SPARRING: _json(meta)}}
    end = 0
    for name in order:
        start, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": _dtype_name(name, arrays[name].dtype),
            "shape": list(arrays[name].shape),
            "data_offsets": [start, end],
        }
    text = _json(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    head = len(text).to_bytes(8, "little") + text
    file.write(head)
    digest.update(head)
    for name in order:
        flat = _bytes(arrays[name])
        file.write(flat.data)
        digest.update(flat.data)
    return digest.hexdigest()


def header_of(data: bytes | mmap.mmap) -> Header:
    """Read and check the header. Raises `MalformedTensors`."""
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise MalformedTensors("it is too short for its header")
    try:
        header = json.loads(data[8:start])
        meta = dict(json.loads(header.pop(_META)[_SPARRING]))
        entries = {name: _entry(found, len(data) - start) for name, found in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise MalformedTensors(f"its header cannot be read: {problem}") from None
    return Header(meta, entries, start)


def tensors_in(data: bytes | mmap.mmap, header: Header) -> Arrays:
    """Read-only views of `data`."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, (dtype, shape, begin, end) in header.entries.items():
        if begin == end:
            arrays[name] = np.zeros(shape, dtype)
            arrays[name].flags.writeable = False
            continue
        flat = np.frombuffer(data, dtype, count=math.prod(shape), offset=header.start + begin)
        arrays[name] = flat.reshape(shape)
    return arrays


def _entry(found: Any, available: int) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    dtype, shape = _DTYPES[found["dtype"]], tuple(found["shape"])
    begin, end = found["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError("a size is not a whole number")
    if end - begin != math.prod(shape) * dtype.itemsize or end > available:
        raise ValueError("an array's size is not that of its bytes")
    return dtype, shape, begin, end


def _dtype_name(name: str, dtype: np.dtype[Any]) -> str:
    little = dtype.newbyteorder("<")
    if little not in _NAMES:
        raise TypeError(f"array {name!r} has dtype {dtype}; stored are bool, integers and floats of 16, 32 and 64 bits")
    return _NAMES[little]


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
