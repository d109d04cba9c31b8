"""Limits on threads, memory and time of the present process or another."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

import psutil

from sparring.engine.failures import too_large, too_long
from sparring.stage import FailureKind

MIB: Final = 2**20
TICK: Final = 0.05  # seconds between two looks at the clock and at the memory
AGAIN: Final = 1.0  # seconds before a stage that swallowed the exception is stopped again
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(512 * MIB),
    "MALLOC_TOP_PAD_": str(16 * MIB),
}
"""Environment of a process that computes: glibc otherwise hands freed activations back to the system after every
training step and asks for them again. Measured on the digits board: 188 CPU seconds without, 130 with."""


def thread_variables(threads: int) -> dict[str, str]:
    """Environment of a process that shall compute on `threads` threads. Read by libraries when they are imported."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def import_with_threads(modules: Sequence[str], threads: int) -> None:
    """Import `modules`, and hold torch to `threads` threads if it is among them."""
    for module in modules:
        importlib.import_module(module)
    if "torch" not in modules:
        return
    torch = sys.modules["torch"]
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != threads:
        try:
            torch.set_num_interop_threads(threads)
        except RuntimeError:  # torch has computed in this process before: too late, and harmless
            return


def resident(process: psutil.Process) -> int:
    """Resident bytes of a process, 0 when it is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """The processes that a process started, and those that they started."""
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


class OverLimit(BaseException):
    """Raised inside a stage of the serial engine. Not an `Exception`, so that plugins do not catch it by chance."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@contextmanager
def watchdog(seconds: float | None, memory: int | None) -> Iterator[None]:
    """Raise `OverLimit` inside the block when it runs too long or this process grows too large.

    Python code only: C code that holds the interpreter lock, or does not return, is not interrupted. Signals reach
    the main thread only; elsewhere there are no limits.
    """
    if (seconds is None and memory is None) or threading.current_thread() is not threading.main_thread():
        yield
        return
    process = psutil.Process()
    deadline = None if seconds is None else time.monotonic() + seconds
    patience = 0.0  # after raising, the stage gets this long to clean up
    armed = True

    def look(_signal: int, _frame: FrameType | None) -> None:
        nonlocal patience
        now = time.monotonic()
        if not armed or now < patience:
            return
        if seconds is not None and deadline is not None and now > deadline:
            patience = now + AGAIN
            raise OverLimit(FailureKind.TIMEOUT, too_long(seconds))
        if memory is not None and resident(process) > memory:
            patience = now + AGAIN
            raise OverLimit(FailureKind.KILLED, too_large(memory))

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
