"""One check on one plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sparring.errors import BadInput, near_miss
from sparring.testing.check import Check, Impossible, Violation
from sparring.testing.tryout import Tryout


class Verdict(StrEnum):
    """What came of a trial."""

    KEPT = "kept"
    VIOLATED = "violated"
    BLOCKED = "blocked"  # the plugin does not run: another check says so
    IMPOSSIBLE = "impossible"  # nobody can tell here


@dataclass(frozen=True)
class Trial:
    """One check on one plugin, as `parametrize_plugins` hands it to a test.

    Attributes:
        subject: the plugin.
        check: what it is held to.
        known: why it is known to fail; "" when it is not. It must then fail.
    """

    subject: Tryout
    check: Check
    known: str = ""

    @property
    def id(self) -> str:
        return f"{self.subject.name}:{self.check.name}"

    def __str__(self) -> str:
        return self.id

    def verdict(self) -> tuple[Verdict, str]:
        """What came of it, and why; "" when all is well."""
        from sparring.testing.performance import PluginRaised

        try:
            if self.check.needs_run and self.subject.base.performance is None:
                return Verdict.BLOCKED, "it does not run in the plainest scene; see the check 'runs'"
            self.check.judge(self.subject)
        except Impossible as reason:
            return Verdict.IMPOSSIBLE, str(reason)
        except Violation as violation:
            return Verdict.VIOLATED, f"{self.subject} breaks '{self.check.name}'\n  {violation}"
        except PluginRaised as raised:
            seen = Violation(
                self.check.claim, str(raised), "see the traceback above; the plainest scene raises nothing"
            )
            return Verdict.VIOLATED, f"{self.subject} breaks '{self.check.name}'\n  {seen}"
        return Verdict.KEPT, ""

    def run(self) -> None:
        """For tests: fail, or skip with the reason where nothing can be said.

        Raises:
            AssertionError: the plugin breaks the check; says what was expected, what was seen, how to mend it.
        """
        import pytest

        verdict, why = self.verdict()
        if verdict is Verdict.VIOLATED:
            raise AssertionError(why)
        if verdict is not Verdict.KEPT:
            pytest.skip(why)


def trials_of(subject: Tryout, known_failures: Mapping[str, str]) -> list[Trial]:
    """All checks that say something about the plugin.

    Raises:
        BadInput: a known failure names no check, or gives no reason.
    """
    from sparring.testing.checks import CHECKS

    names = {check.name for check in CHECKS}
    for name, reason in known_failures.items():
        if name not in names:
            raise BadInput(f"known failure {name!r}: there is no such check{near_miss(name, names)}")
        if not reason.strip():
            raise BadInput(f"known failure {name!r}: give the reason")
    return [Trial(subject, check, known_failures.get(check.name, "")) for check in CHECKS if check.applies(subject)]
