"""What measurements share."""

from __future__ import annotations

import ctypes

import pytest

from sparring.engine.limits import ALLOCATOR


@pytest.fixture(scope="module")
def allocator() -> None:
    """Memory is kept rather than handed back after every step, as in the processes that run stages."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, variable in ((-3, "MMAP_THRESHOLD"), (-1, "TRIM_THRESHOLD"), (-2, "TOP_PAD")):  # of malloc.h
            libc.mallopt(option, int(ALLOCATOR[f"MALLOC_{variable}_"]))
