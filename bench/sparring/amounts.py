"""Amounts with a unit, as they are written in suites and on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

SECONDS: Final[Mapping[str, float]] = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES: Final[Mapping[str, float]] = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_AMOUNT: Final = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]+)\s*", re.ASCII)


def amount(text: str, units: Mapping[str, float]) -> float:
    """The number that "90s" or "4GiB" stands for, in the smallest of `units`.

    Raises:
        ValueError: no number, or another unit.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None or match.group(2) not in units:
        raise ValueError(f"should be a number with one of the units {', '.join(units)}")
    return float(match.group(1)) * units[match.group(2)]


def size_text(count: float) -> str:
    """Bytes for people: "1.3 GiB"."""
    unit = next((name for name in ("TiB", "GiB", "MiB", "KiB") if count >= BYTES[name]), "B")
    return f"{count:.0f} B" if unit == "B" else f"{count / BYTES[unit]:.1f} {unit}"
