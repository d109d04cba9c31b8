"""The process that children are forked from: what it has imported, they need not import again.

It answers one message at a time over a socket: `FORK` with two descriptors, a child's socket and its log, gets the
pid of a new child; a pid gets the status of that child's end, or nothing while it lives. It runs no stage and calls
nothing of what it imports, so that no thread and no CUDA context is there when it forks. When the other end of the
socket closes it ends; its children are their supervisors' to end.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from sparring.engine import child

FORK: Final = b"fork"
LONGEST: Final = 32  # bytes of a message
_TASKS: Final = "/proc/self/task"


def main(descriptor: int, imports: Sequence[str]) -> None:
    """Fork children until the other end of the socket closes. Returns in each child too, when that is done."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    for module in imports:
        with suppress(Exception):  # a child tries again, and says what is wrong
            importlib.import_module(module)
    gc.freeze()  # children neither walk nor copy what was imported
    connection = _served(control) if _alone() else None
    if connection is not None:
        child.main(connection)


def _alone() -> bool:
    """Whether a fork of this process is a whole process: it has no other thread, and no CUDA context."""
    cuda = sys.modules.get("torch.cuda")
    return len(os.listdir(_TASKS)) == 1 and not (cuda is not None and cuda.is_initialized())


def _served(control: socket.socket) -> int | None:
    """In a child, the descriptor of its socket; `None` in the template, when nobody is there to ask any more."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LONGEST, 2, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return None
        if message != FORK:
            control.send(_status(int(message)))
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            return _born(*descriptors)
        os.setpgid(pid, pid)  # here and in the child: whoever is first, it is done before anybody may kill the group
        for received in descriptors:
            os.close(received)
        control.send(b"%d" % pid)


def _status(pid: int) -> bytes:
    found, status = os.waitpid(pid, os.WNOHANG)
    return b"%d" % os.waitstatus_to_exitcode(status) if found else b"-"


def _born(connection: int, log: int) -> int:
    """Become a process of its own, with a group and an output; returns the descriptor of its socket."""
    os.setpgid(0, 0)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    return connection
