"""What a stage's exception, or the end of its process, is called in a record."""

from __future__ import annotations

import signal
import traceback
from dataclasses import dataclass
from typing import Final, Protocol

from sparring.stage import Broken, FailureKind, RuleBroken, StageName

# By name: importing the module of the second would load torch into every supervising process.
_DEADLINE: Final = "sparring.contracts.DeadlineExceeded"
_QUERIES: Final = "sparring.model.QueryBudgetExceeded"
LONGEST_ERROR, LONGEST_TRACEBACK = 500, 16_000  # characters; some libraries print whole tensors


class Named(Protocol):
    """A stage, or what is left of it: enough to say which one broke."""

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> StageName: ...
    @property
    def label(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Halt:
    """The whole run must stop: `problem` is raised in the driver."""

    problem: Exception


def broken(stage: Named, kind: FailureKind, error: str, trace: str = "") -> Broken:
    """`stage` as broken."""
    return Broken(key=stage.key, name=stage.name, label=stage.label, kind=kind, error=error, traceback=trace)


def from_exception(stage: Named, error: BaseException, seconds: float | None) -> Broken:
    """What `stage` is when it raised `error`; `seconds` is its time limit."""
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    trace = "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]
    trace = trace.encode(errors="replace").decode()  # halves of surrogate pairs are no JSON
    if _DEADLINE in names and seconds is not None:
        return broken(stage, FailureKind.TIMEOUT, too_long(seconds), trace)
    kind = FailureKind.BUDGET if isinstance(error, RuleBroken) or _QUERIES in names else FailureKind.ERROR
    return broken(stage, kind, one_line(error), trace)


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, on one line and not longer than `LONGEST_ERROR`."""
    try:
        said = " ".join(str(error).split())
    except Exception:
        said = "(its message cannot be printed)"
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    line = "".join(c if c.isprintable() else "�" for c in line)
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"


def too_long(seconds: float) -> str:
    return f"ran longer than {seconds:g} s"


def too_large(memory: int) -> str:
    return f"exceeded the memory limit of {memory / 2**30:.1f} GiB"


def died(status: int) -> str:
    """How a process ended; `status` as in `Popen.returncode`."""
    if status >= 0:
        return f"its process exited with status {status}"
    names = {int(number): number.name for number in signal.Signals}
    return f"its process died (signal {-status}, {names.get(-status, 'unknown')})"
