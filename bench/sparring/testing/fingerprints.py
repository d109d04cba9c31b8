"""What a plugin returned, as named arrays, whatever it is: so that two answers can be compared byte by byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Answers = dict[str, NDArray[Any]]
"""Name -> array; the names lead to the part of the answer, `poison/0/rows` say."""


def answers_of(name: str, value: Any) -> Answers:
    """The arrays in `value`: tensors, arrays, numbers, and data classes, mappings and sequences of them."""
    if isinstance(value, torch.Tensor):
        return {name: value.detach().cpu().numpy().copy()}
    if isinstance(value, np.ndarray):
        return {name: value.copy()}
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return {name: np.array(repr(value) if value is None or isinstance(value, str) else value)}
    if is_dataclass(value) and not isinstance(value, type):
        return _joined(name, {f.name: getattr(value, f.name) for f in fields(value)})
    if isinstance(value, Mapping):
        return _joined(name, {str(key): part for key, part in value.items()})
    if isinstance(value, Sequence):
        return _joined(name, {str(place): part for place, part in enumerate(value)})
    return {name: np.array(type(value).__qualname__)}


def _joined(name: str, parts: Mapping[str, Any]) -> Answers:
    found: Answers = {}
    for key, part in parts.items():
        found |= answers_of(f"{name}/{key}", part)
    return found


def differing(one: Answers, other: Answers) -> list[str]:
    """Names whose bytes differ, or that only one of the two has."""
    return [name for name in sorted(one.keys() | other.keys()) if not _same(one.get(name), other.get(name))]


def _same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    if one is None or other is None:
        return False
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
