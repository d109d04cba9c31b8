"""What a conformance check is, and how it says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparring.testing.subject import Subject
    from sparring.testing.tryout import Tryout


class Violation(AssertionError):
    """A plugin does not do what its contract demands.

    Args:
        expected: what the contract demands.
        seen: what the plugin did.
        mend: how to put it right.
    """

    def __init__(self, expected: str, seen: str, mend: str) -> None:
        super().__init__(f"expected: {expected}\n  seen: {seen}\n  to mend: {mend}")
        self.expected = expected
        self.seen = seen
        self.mend = mend


class Impossible(Exception):
    """The check cannot be made here; the message says why: no CUDA device, files of a data set that are missing."""


def always(subject: Subject) -> bool:
    """Applies to every plugin."""
    return True


@dataclass(frozen=True)
class Check:
    """One thing that a plugin must keep to.

    Attributes:
        name: hyphenated words; the second half of a test id, and the key of a known failure.
        claim: what holds of a plugin that passes, in one sentence.
        judge: raises `Violation` where it does not hold, `Impossible` where nobody can tell.
        applies: whether the check says anything about this plugin; looks at the declaration only.
        needs_run: whether it makes sense only for a plugin that runs at all (see the check `runs`).
    """

    name: str
    claim: str
    judge: Callable[[Tryout], None]
    applies: Callable[[Subject], bool] = always
    needs_run: bool = True
