"""Content keys: SHA-256 of canonical JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from sparring.cell import Selection


def digest_of(value: Any) -> str:
    """64 hexadecimal digits of the SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no white space, ASCII, shortest floats, no NaN.

    Raises:
        ValueError: NaN or infinity.
        TypeError: a value that is neither JSON, nor an enum, a tuple, a selection or a dataclass of such.
    """
    return _ENCODER.encode(value)


def plain(value: Any) -> Any:
    """`value` in JSON types. Dataclasses become objects of the fields that are compared, selections name and params."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Selection):
        return {"name": value.name, "params": plain(value.params)}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.compare}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


# What is JSON already, the encoder walks by itself; `plain` is asked about the rest.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=plain)
