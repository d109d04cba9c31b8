"""A sign of life from inside a library's loop, so that a time limit stops it there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparring.contracts import Context

SECONDS = 0.1
"""Between two signs of life: a library may ask for one image at a time, thousands of times a second."""


class Heartbeat:
    """Passes at most one call every `SECONDS` on to `ctx.progress`."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._next = 0.0

    def beat(self, done: int, total: int, note: str = "") -> None:
        """As `Context.progress`.

        Raises:
            DeadlineExceeded: the stage's time is up.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + SECONDS
            self._ctx.progress(done, total, note)
