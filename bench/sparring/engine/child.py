"""The process that runs stages. Started by `sparring.engine.supervisor`, and told one stage at a time over a socket."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
from multiprocessing.connection import Connection
from typing import Final

from sparring.engine.failures import Halt, from_exception
from sparring.engine.limits import import_with_threads
from sparring.stage import Execute, Stage, StageOutcome, WorkerSettings
from sparring.store import StoreProblem

READY: Final = b"ready"
IDLE: Final = 300.0  # seconds without work after which the process ends; a new one is started when needed
WHERE: Final = signal.SIGUSR1  # asks the process to write down where it is


def main(descriptor: int) -> None:
    """Serve stages until the other end of the socket closes."""
    os.set_inheritable(descriptor, False)
    faulthandler.enable()
    faulthandler.register(WHERE)
    connection: Connection[bytes, bytes] = Connection(descriptor)
    execute, settings, imports = pickle.loads(connection.recv_bytes())
    import_with_threads(imports, settings.threads)
    connection.send_bytes(READY)
    while connection.poll(IDLE):
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(request, execute, settings))


def _answer(request: bytes, execute: Execute, settings: WorkerSettings) -> bytes:
    stage: Stage = pickle.loads(request)
    outcome: StageOutcome | Halt
    try:
        outcome = execute(stage, settings, _unheard)
        return pickle.dumps(outcome)
    except StoreProblem as problem:
        outcome = Halt(problem)
    except BaseException as error:
        outcome = from_exception(stage, error, settings.seconds)
    return pickle.dumps(outcome)


def _unheard(done: int, total: int, note: str) -> None:
    """Progress inside a stage is not sent on."""
