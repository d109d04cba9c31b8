"""How the processes that run stages come to life: forked from a template where that is safe, spawned elsewhere."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

from sparring.engine.limits import ALLOCATOR, thread_variables

START: Final = 300.0  # seconds in which a process must have imported what it needs
_RUN = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from sparring.engine.{0} import main; "
_RUN += "main(int(sys.argv[1]){1})"
_CHILD = _RUN.format("child", "")
_TEMPLATE = _RUN.format("template", ", sys.argv[3:]")


class Process(Protocol):
    """As much of `subprocess.Popen` as a supervisor needs. The process leads a group of its own."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | Any: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...


class Nursery:
    """Gives birth to the children of one run. For many threads.

    Args:
        imports: what children import before their first stage.
        threads: of each child. With more than one, libraries start threads when they are imported, which no fork
            survives; children are then spawned.
    """

    def __init__(self, imports: Sequence[str], threads: int) -> None:
        self._imports = imports
        self._threads = threads
        self._template: _Template | None = None
        self._fertile = threads == 1 and _forks()
        self._closed = False
        self._lock = threading.Lock()

    def born(self, connection: int, log: int) -> Process:
        """A process that serves stages over the socket `connection` and writes to `log`. Raises `OSError`."""
        if self._fertile:
            try:
                return _Forked(self._started(), connection, log)
            except ConnectionError:  # it ended: by itself because it must not fork, or by a stage's hand
                self._fertile = False
        if self._closed:
            raise OSError("the run was stopped")
        return _started(_CHILD, connection, log, self._threads)

    def close(self) -> None:
        """End the template. No child is made any more."""
        with self._lock:
            self._closed = True
            if self._template is not None:
                self._template.close()

    def _started(self) -> _Template:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError
            if self._template is None:
                self._template = _Template(self._imports, self._threads)
            return self._template


class _Template:
    """The process of `sparring.engine.template`, and the talk with it."""

    def __init__(self, imports: Sequence[str], threads: int) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START)
        with theirs, tempfile.TemporaryFile() as unread:
            self._process = _started(_TEMPLATE, theirs.fileno(), unread.fileno(), threads, *imports)
        self._lock = threading.Lock()

    def ask(self, message: bytes, descriptors: Sequence[int] = ()) -> int | None:
        """The number it answers, if any. Raises `ConnectionError` when it has ended."""
        from sparring.engine.template import LONGEST

        with self._lock:
            socket.send_fds(self._control, [message], descriptors)
            answer = self._control.recv(LONGEST)
        if not answer:
            raise ConnectionResetError("the process that children are forked from has ended")
        return None if answer == b"-" else int(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class _Forked:
    """A child of the template; a `Process`. That it lives is seen without asking the template."""

    def __init__(self, template: _Template, connection: int, log: int) -> None:
        from sparring.engine.template import FORK

        self._template = template
        pid = template.ask(FORK, (connection, log))
        assert pid is not None
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._descriptor = os.pidfd_open(pid)
        self._end = select.poll()
        self._end.register(self._descriptor, select.POLLIN)

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._look(None if timeout is None else round(1000 * timeout))
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, sig)

    def _look(self, milliseconds: int | None) -> int | None:
        with self._lock:
            if self.returncode is None and self._end.poll(milliseconds):
                try:
                    self.returncode = self._template.ask(b"%d" % self.pid)
                except ConnectionError:
                    self.returncode = -signal.SIGKILL  # nobody knows any more; what ended the template is likely
                os.close(self._descriptor)
            return self.returncode


def _forks() -> bool:
    """Whether this system forks processes that others may watch: Linux, from 5.3 on."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _started(code: str, descriptor: int, log: int, threads: int, *arguments: str) -> subprocess.Popen[bytes]:
    """A new Python process in a session of its own, which Ctrl-C does not reach."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(descriptor), json.dumps(sys.path), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[descriptor],
        start_new_session=True,
        env=ALLOCATOR | os.environ | thread_variables(threads) | {"PYTHONHASHSEED": "0"},
    )
