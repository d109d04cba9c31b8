"""Runs stages in a process of their own, and survives whatever they do to it.

One child process serves many stages, because importing torch takes longer than most of them. It lives in a session
and process group of its own: Ctrl-C does not reach it, and what a stage starts dies with it. A shell of one line
holds its last will: it waits for the supervisor's end, however that comes, and kills the group.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Final

import psutil

from sparring.engine.birth import START, Nursery
from sparring.engine.child import IDLE, READY, WHERE
from sparring.engine.failures import Halt, broken, died, too_large, too_long
from sparring.engine.interface import EngineUnavailable
from sparring.engine.limits import TICK, descendants, resident
from sparring.stage import FailureKind, StageName, StageOutcome, WorkerSettings

GRACE: Final = 0.25  # seconds past the limit in which a stage that watches its own deadline may stop by itself
TAIL: Final = 4_000  # bytes of its output that are kept when a child dies
LOG: Final = 8 << 20  # bytes of output after which a child's log is begun anew
STARTS: Final = 3  # children that may be killed one after the other before the first stage, by whomever
FAMILY: Final = 20  # ticks between two looks at the memory of what a stage started; listing processes is slow
_LAST_WILL = 'trap "" HUP INT TERM; read -r _; kill -s KILL -- "-$1"'  # "-KILL --" is refused by dash


@dataclass(frozen=True, slots=True)
class Posted:
    """A stage on its way to a child. Pickled, so that nothing on the way imports its plugins."""

    key: str
    name: StageName
    label: str
    pickled: bytes


class ChildLost(Exception):
    """The child is gone; `kind` and message say why, `output` is the last it wrote. `signalled`: somebody killed it."""

    def __init__(self, kind: FailureKind, message: str, output: str = "", *, signalled: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.output = output
        self.signalled = signalled


class Supervisor:
    """Owns one child, and starts another when it is lost. For one thread; `close` may be called from any.

    Args:
        nursery: where children come from.
        setup: `(execute, settings, imports)`, pickled.
        settings: limits and threads.
    """

    def __init__(self, nursery: Nursery, setup: bytes, settings: WorkerSettings) -> None:
        self._nursery = nursery
        self._setup = setup
        self._settings = settings
        self._child: _Child | None = None
        self._closed = False
        self._used = 0.0
        self._lock = threading.Lock()

    def run(self, stage: Posted) -> StageOutcome | Halt:
        """Run one stage; every way to fail comes back as a value."""
        child = self._started()
        if isinstance(child, Halt):
            return child
        try:
            outcome: StageOutcome | Halt = pickle.loads(child.ask(stage.pickled, self._settings))
            return outcome if isinstance(outcome, Halt) else _own(stage, outcome)
        except ChildLost as lost:
            return broken(stage, lost.kind, str(lost), lost.output)
        finally:
            self._used = time.monotonic()

    def close(self) -> None:
        """Kill the child, and never start another."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()

    def _started(self) -> _Child | Halt:
        """A child that is ready. That one is killed while it starts says nothing of the stage: another is tried."""
        for left in reversed(range(STARTS)):
            try:
                return self._ready_child()
            except ChildLost as lost:
                if left and lost.signalled and not self._closed:
                    continue
                why = f"{lost}\n{lost.output}"
            except OSError as error:  # no more processes, or no room for its output
                why = str(error)
            break
        return Halt(EngineUnavailable(f"the process that runs stages did not start: {why}".strip()))

    def _ready_child(self) -> _Child:
        idle = time.monotonic() - self._used
        if self._child is not None and self._child.alive and idle < IDLE / 2:  # else it may be about to end
            return self._child
        with self._lock:
            if self._child is not None:
                self._child.kill()
                self._child = None
        child = _Child(self._nursery)  # takes a while when it is the first; `close` must not wait for that
        with self._lock:
            self._child = child
            if self._closed:
                child.kill()
                raise ChildLost(FailureKind.KILLED, "the run was stopped")
        child.prepare(self._setup)
        return child


def _own(stage: Posted, outcome: StageOutcome) -> StageOutcome:
    """What became of `stage`, unless another stage's outcome came in its place: a process that it left behind wrote."""
    if outcome.key == stage.key:
        return outcome
    return broken(stage, FailureKind.KILLED, "another process answered in its place")


class _Child:
    """One life of the process."""

    def __init__(self, nursery: Nursery) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        fcntl.fcntl(self._log, fcntl.F_SETFL, os.O_APPEND)
        self._connection, theirs = Pipe()
        try:
            self._process = nursery.born(theirs.fileno(), self._log.fileno())
        finally:
            theirs.close()
        try:
            self._seen = psutil.Process(self._process.pid)
        except psutil.NoSuchProcess:
            raise ChildLost(FailureKind.KILLED, "it ended at once", signalled=True) from None
        self._will = subprocess.Popen(
            ["/bin/sh", "-c", _LAST_WILL, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def prepare(self, setup: bytes) -> None:
        """Hand over what all stages need, and wait until everything is imported. Raises `ChildLost`."""
        if self._exchange(setup, START, None) != READY:
            raise self._lost(FailureKind.KILLED, "it answered something else than expected")

    def ask(self, pickled: bytes, settings: WorkerSettings) -> bytes:
        """The child's answer to one stage. Raises `ChildLost`."""
        self._log.truncate(0)
        return self._exchange(pickled, settings.seconds, settings.memory)

    def kill(self) -> None:
        """Kill the process, its group, and what left the group but is still its descendant."""
        family = descendants(self._seen)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        self._process.wait()
        self._will.kill()
        self._will.wait()

    def _exchange(self, request: bytes, seconds: float | None, memory: int | None) -> bytes:
        try:
            self._connection.send_bytes(request)
            deadline = None if seconds is None else time.monotonic() + seconds + GRACE
            ticks = 0
            while not self._connection.poll(TICK):
                ticks += 1
                self._check(deadline, seconds, memory, ticks)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._lost(FailureKind.KILLED, None) from None

    def _check(self, deadline: float | None, seconds: float | None, memory: int | None, ticks: int) -> None:
        if not self.alive and not self._connection.poll():  # something it started may hold the socket open
            raise self._lost(FailureKind.KILLED, None)
        if seconds is not None and deadline is not None and time.monotonic() > deadline:
            self._process.send_signal(WHERE)
            time.sleep(TICK)
            raise self._lost(FailureKind.TIMEOUT, too_long(seconds))
        if memory is not None and self._memory(ticks) > memory:
            raise self._lost(FailureKind.KILLED, too_large(memory))
        if os.fstat(self._log.fileno()).st_size > LOG:
            self._log.truncate(0)

    def _memory(self, ticks: int) -> int:
        family = descendants(self._seen) if ticks % FAMILY == 0 else []
        return sum(map(resident, family), resident(self._seen))

    def _lost(self, kind: FailureKind, message: str | None) -> ChildLost:
        """Kill what is left, and say how it ended."""
        with suppress(subprocess.TimeoutExpired):  # its own end, when it is under way, says more than our kill
            self._process.wait(0 if message else 1)
        self.kill()
        size = os.fstat(self._log.fileno()).st_size
        output = os.pread(self._log.fileno(), TAIL, max(0, size - TAIL)).decode(errors="replace").strip()
        status = self._process.returncode
        killed = kind is FailureKind.KILLED and status is not None and status < 0
        return ChildLost(kind, message or died(status), output, signalled=killed)
