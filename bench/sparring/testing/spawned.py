"""Running a plugin in a spawned process, which can be killed. One process serves all plugins of a test session."""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from sparring.cell import Selection
from sparring.plugin import Kind
from sparring.testing.check import Impossible
from sparring.testing.fingerprints import Answers
from sparring.testing.performance import Performance, PluginRaised
from sparring.testing.scene import Scene
from sparring.testing.subject import Subject
from sparring.threat import ThreatModel

START: Final = 120.0
"""Seconds in which the process must have imported torch."""

Perform = Callable[[Subject, Scene], Performance]
_Answer = Answers | str | Impossible
"""What it answered; what it raised, in words; why it cannot run there."""


class TookTooLong(Exception):
    """The process was killed."""


class NotPicklable(Exception):
    """The plugin's parameters cannot be sent to another process."""


@dataclass(frozen=True)
class _Order:
    kind: Kind
    selection: Selection
    threat: ThreatModel
    scene: Scene
    perform: Perform | None


def performed_elsewhere(subject: Subject, scene: Scene, seconds: float, perform: Perform | None = None) -> Answers:
    """What the plugin answers in a spawned process. A `DeadlineExceeded` counts as no answers.

    Args:
        perform: what it does there, a function that can be pickled; `None`: all acts that it declares.

    Raises:
        NotPicklable: the parameters, or what comes with `perform`, cannot be sent.
        PluginRaised: it raised something else there.
        TookTooLong: `seconds` went by.
        Impossible: it cannot run there.
    """
    order = _Order(subject.kind, subject.selection, subject.threat, scene, perform)
    try:
        pickled = pickle.dumps(order)
    except Exception as error:  # whatever a plugin's own class raises while it is pickled
        raise NotPicklable(f"{type(error).__name__}: {error}") from error
    answer = _worker().ask(pickled, seconds)
    if isinstance(answer, Impossible):
        raise answer
    if isinstance(answer, str):
        raise PluginRaised(RuntimeError(answer), "in a spawned process, it")
    return answer


class _Worker:
    """The process, and the pipe to it."""

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None

    def ask(self, order: bytes, seconds: float) -> _Answer:
        self._start()
        self._connection.send((sys.path, order))
        if not self._connection.poll(seconds):
            self.kill()
            raise TookTooLong
        try:
            answer: _Answer = pickle.loads(self._connection.recv_bytes())
        except EOFError:
            self.kill()
            return "it killed its process"
        return answer

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()
        if not self._connection.poll(START):
            self.kill()
            raise Impossible(f"a spawned process did not start within {START:g} s")
        try:
            self._connection.recv_bytes()
        except EOFError:  # a script read from standard input cannot be imported again, say
            self.kill()
            raise Impossible("a spawned process did not start: it ended at once") from None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


@lru_cache(maxsize=1)
def _worker() -> _Worker:
    worker = _Worker()
    atexit.register(worker.kill)
    return worker


def _serve(connection: Connection) -> None:
    """What the process does: perform what it is told to, until the other end closes."""
    import torch

    torch.set_num_threads(1)
    connection.send_bytes(b"ready")
    while True:
        try:
            sys.path[:], pickled = connection.recv()
        except EOFError:
            return
        importlib.invalidate_caches()
        try:
            order: _Order = pickle.loads(pickled)
        except Exception as error:  # whatever importing a plugin's module raises here
            answer: _Answer = f"cannot be received: {type(error).__name__}: {error}"
        else:
            answer = _performed(order)
        connection.send_bytes(pickle.dumps(answer))


def _performed(order: _Order) -> _Answer:
    from sparring.catalogue import discover
    from sparring.contracts import DeadlineExceeded
    from sparring.testing.acting import PERFORMERS

    catalogue = discover()
    subject = Subject(catalogue, catalogue.entry(order.kind, order.selection.name), order.selection, order.threat)
    try:
        return (order.perform or PERFORMERS[order.kind])(subject, order.scene).answers
    except Impossible as reason:
        return reason
    except PluginRaised as raised:
        return {} if isinstance(raised.error, DeadlineExceeded) else str(raised)
