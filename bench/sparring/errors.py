"""What a user is told about bad input: one sentence with file, line, key and near miss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

Step = str | int


class BadInput(Exception):
    """Something that the user wrote cannot be used. The command line prints it and exits with 2.

    Attributes:
        message: one sentence.
        file, line: where it stands, as far as known.
        trail: the keys and positions that lead to it, outermost first; `("attacks", 2, "eps")`.
    """

    def __init__(
        self,
        message: str,
        *,
        file: Path | str | None = None,
        line: int | None = None,
        trail: tuple[Step, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.trail = trail

    @property
    def key(self) -> str | None:
        """The outermost key, `attacks` say; `None` where the message is about that key itself."""
        outermost = self.trail[0] if len(self.trail) > 1 else None
        return outermost if isinstance(outermost, str) else None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class NotInstalled(BadInput):
    """A plugin that is asked for is not there, or cannot be used as it is installed."""


@contextmanager
def inside(*steps: Step) -> Iterator[None]:
    """Bad input raised in the block was found under `steps`."""
    try:
        yield
    except BadInput as error:
        error.trail = (*steps, *error.trail)
        raise


def near_miss(word: str, known: Iterable[str]) -> str:
    """'; did you mean 'eps'?' for the closest of `known`, '' when none is close."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
