"""Colours of the heat map."""

from __future__ import annotations


def heat(share: float | None) -> tuple[str, int]:
    """("hold" or "fall", strength 0 to 100) for what is left to the defender, in [0, 1]: even is pale, "" without a
    number."""
    if share is None:
        return "", 0
    bounded = min(1.0, max(0.0, share))
    return ("hold" if bounded >= 0.5 else "fall"), round(abs(bounded - 0.5) * 200)
