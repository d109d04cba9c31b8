"""A board's results, on disk: reading them, and appending to them so that no finished cell is lost.

`results/cells.jsonl` is what git keeps: one line a cell, sorted, the same bytes for the same records. While a run goes
on, finished records are appended to `results/.journal.jsonl`; `consolidate` merges them. Whatever is read is validated:
a bad line is named and left out, and the good ones stay.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from sparring import media
from sparring.atomic import replace_if_changed, sync_folder
from sparring.record import Record
from sparring.uncollected import uncollected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS: Final = "cells.jsonl"
JOURNAL: Final = ".journal.jsonl"
LOCK: Final = ".journal.lock"
REJECTED: Final = "cells.rejected"

LONGEST_LINE: Final = 64 * 2**20
"""Bytes; a longer line is not a record (100,000 samples with distortions need 0.3 MB)."""

SYNC_SECONDS: Final = 0.2
SYNC_RECORDS: Final = 32


class ResultsUnwritable(RuntimeError):
    """The results folder cannot be written. The message names it and says why; the records so far are intact."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a record.

    Attributes:
        path: the file.
        line: number of the line, from 1; 0 when it is the file itself that cannot be read.
        why: one sentence.
        start, length: where its bytes lie.
        torn: whether it is what an interrupted write left at the end of the journal; it never was a whole record.
    """

    path: Path
    line: int
    why: str
    start: int = 0
    length: int = 0
    torn: bool = False

    def __str__(self) -> str:
        where = f"{self.path.parent.name}/{self.path.name}"
        return f"{where}:{self.line}: {self.why}" if self.line else f"{where}: {self.why}"


def open_results(folder: Path) -> Results:
    """The results of the board in `folder`. Nothing is written, and the folder need not exist."""
    return Results(folder)


class Results:
    """The records of a board, in memory and on disk. One process writes at a time; only the driver does.

    Attributes:
        by_cell: the latest record of each cell, by cell id. A record that says the same as the one before (see
            `Record.same_result`) is not later: the old line stays, so that a rerun leaves nothing to review.
        by_key: records by content key, superseded ones too: their key still names their outcome.
        problems: lines that could not be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "results"
        self.by_cell: dict[str, Record] = {}
        self.by_key: dict[str, Record] = {}
        self.problems: list[BadLine] = []
        self._lock = threading.RLock()
        self._journal: int | None = None
        self._run_lock: int | None = None
        self._waiting: list[Callable[[], None] | None] = []
        self._synced_at = 0.0
        self._timer: threading.Timer | None = None
        self._failure: ResultsUnwritable | None = None
        self._read()

    def claim(self) -> None:
        """Keep other runs out until `consolidate` or `close`. Records that one wrote in the meantime are read.

        Raises:
            ResultsUnwritable: the folder is not writable, or another run is writing there.
        """
        with self._lock:
            self._start_writing()

    def publish(self, content: NDArray[np.uint8]) -> None:
        """Keep a file that a record will name, durably.

        Raises:
            ResultsUnwritable: the disk is full or the folder not writable.
        """
        try:
            media.publish(self.folder, content)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def append(self, record: Record, durable: Callable[[], None] | None = None) -> None:
        """Write `record` to the journal. It outlives this process at once, and the machine after at most
        `SYNC_SECONDS` or `SYNC_RECORDS` further records; `durable()` is called then, maybe from another thread.

        Raises:
            ResultsUnwritable: the disk is full, the folder not writable, or another run is writing there.
        """
        with self._lock:
            self._start_writing()
            line = encoded(record)
            as_read = Record.model_validate_json(line, strict=True)  # dictionaries in the order of the next reader
            if self._take(as_read):
                self._write(line)
            self._waiting.append(durable)
            idle = time.monotonic() - self._synced_at >= SYNC_SECONDS
            if idle or len(self._waiting) >= SYNC_RECORDS:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(SYNC_SECONDS, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Make every appended record durable now. Raises `ResultsUnwritable`."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._failure is not None:
                raise self._failure
            waiting, self._waiting = self._waiting, []
            if waiting and self._journal is not None:
                with _naming(self.folder):
                    os.fsync(self._journal)
            self._synced_at = time.monotonic()
        for told in waiting:
            if told is not None:
                told()

    def consolidate(self, keep: Collection[str] | None = None) -> bool:
        """Merge everything into `cells.jsonl` and remove the journal. Bad lines of both are put aside in
        `cells.rejected`; other `*.jsonl` files are read, never changed.

        Args:
            keep: ids of the suite's cells; records of other cells are dropped. `None` keeps all.

        Returns:
            Whether `cells.jsonl` changed.

        Raises:
            ResultsUnwritable: nothing was lost; the journal is still there.
        """
        with self._lock:
            self._start_writing()
            self.flush()
            if keep is not None:
                kept = frozenset(keep)
                self.by_cell = {cell: record for cell, record in self.by_cell.items() if cell in kept}
            lines = (encoded(self.by_cell[cell]) for cell in sorted(self.by_cell))
            ours = [bad for bad in self.problems if bad.path.name in (CELLS, JOURNAL)]
            with _naming(self.folder):
                _put_aside([bad for bad in ours if bad.line and not bad.torn], self.folder / REJECTED)
                changed = replace_if_changed(self.folder / CELLS, lines)
                (self.folder / JOURNAL).unlink(missing_ok=True)
                sync_folder(self.folder)
            self.problems = [bad for bad in self.problems if bad not in ours]
            self._stop_writing()
            self._seen = self._stamp()
            return changed

    def close(self) -> None:
        """Flush, and let another run write. The journal stays for the next one to read."""
        with self._lock:
            try:
                self.flush()
            finally:
                self._stop_writing()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _read(self) -> None:
        self._seen = self._stamp()
        self.by_cell, self.by_key, self.problems = {}, {}, []
        others = sorted(p for p in self.folder.glob("*.jsonl") if p.name not in (CELLS, JOURNAL))
        with uncollected():
            for path in (*others, self.folder / CELLS, self.folder / JOURNAL):
                if path.is_file():  # keeps devices and pipes out
                    self._read_file(path)

    def _read_file(self, path: Path) -> None:
        try:
            for found in read_records(path):
                if isinstance(found, Record):
                    self._take(found)
                else:
                    self.problems.append(found)
        except OSError as error:
            self.problems.append(BadLine(path, 0, f"cannot be read: {error.strerror or error}"))

    def _take(self, record: Record) -> bool:
        """Let `record` stand for its cell, unless it says nothing new; later schemas say more."""
        old = self.by_cell.get(record.cell.id)
        if old is not None and old.same_result(record) and old.schema_version >= record.schema_version:
            return False
        self.by_cell[record.cell.id] = self.by_key[record.key] = record
        return True

    def _stamp(self) -> list[tuple[int, int] | None]:
        """What tells whether another run has written here since."""
        found = []
        for path in (self.folder / CELLS, self.folder / JOURNAL):
            stat = path.stat() if path.is_file() else None
            found.append(None if stat is None else (stat.st_mtime_ns, stat.st_size))
        return found

    def _start_writing(self) -> None:
        if self._journal is not None:
            return
        with _naming(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._run_lock = _locked(self.folder / LOCK)
            try:
                if self._stamp() != self._seen:
                    self._read()
                self._journal = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                self._mend_tail(self._journal)
            except OSError:
                self._stop_writing()
                raise

    def _mend_tail(self, journal: int) -> None:
        """Cut off what an interrupted write left, so that the next record starts a line of its own."""
        torn = [bad for bad in self.problems if bad.torn]
        size = os.fstat(journal).st_size
        if torn:
            os.ftruncate(journal, torn[0].start)
        elif size and os.pread(journal, 1, size - 1) != b"\n":
            os.write(journal, b"\n")

    def _stop_writing(self) -> None:
        for descriptor in (self._journal, self._run_lock):
            if descriptor is not None:
                os.close(descriptor)
        self._journal = self._run_lock = None

    def _write(self, line: bytes) -> None:
        assert self._journal is not None
        before = os.fstat(self._journal).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._journal, rest) :]
        except OSError as error:
            os.ftruncate(self._journal, before)
            raise _unwritable(self.folder, error) from error

    def _flush_late(self) -> None:
        try:
            self.flush()
        except ResultsUnwritable as failure:
            self._failure = failure  # said by the next append, flush or close


def encoded(record: Record) -> bytes:
    """The one line that stands for `record`: compact JSON, keys sorted, ASCII, ending in a newline."""
    return json.dumps(record.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_records(path: Path) -> Iterator[Record | BadLine]:
    """The records of a JSON Lines file in order, and its bad lines. Blank lines are skipped. Raises `OSError`."""
    for number, start, length, line in _lines(path):
        if line is not None and not line.strip():
            continue
        try:
            if line is None:
                raise ValueError(f"longer than {LONGEST_LINE // 2**20} MiB")
            yield Record.model_validate_json(line, strict=True)
        except ValueError as error:
            torn = path.name == JOURNAL and (line is None or not line.endswith(b"\n"))
            why = _why(error, line or b"")
            yield BadLine(path, number, f"cut off ({why})" if torn else why, start, length, torn)


def _lines(path: Path) -> Iterator[tuple[int, int, int, bytes | None]]:
    """(number, start, length, bytes) of each line, newline included; bytes are `None` for over-long ones."""
    with path.open("rb") as file:
        number = start = 0
        while head := file.readline(LONGEST_LINE + 1):
            number += 1
            length, part = len(head), head
            while len(head) > LONGEST_LINE and part and not part.endswith(b"\n"):
                part = file.readline(2**20)
                length += len(part)
            yield number, start, length, None if len(head) > LONGEST_LINE else head
            start += length


def _why(error: ValueError, line: bytes) -> str:
    """What is wrong with a line, in one sentence that cannot carry control characters into a terminal."""
    if line.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
        return "a conflict marker of a git merge"
    if not isinstance(error, ValidationError):
        return str(error)
    first, *more = error.errors(include_url=False, include_input=False)
    if first["type"] == "json_invalid":
        try:
            line.decode()
        except UnicodeDecodeError as undecodable:
            return f"not UTF-8 at byte {undecodable.start}"
        return first["msg"].replace("Invalid JSON: ", "not JSON: ").replace(" at line 1 column", " at column")
    place = ".".join(str(part) for part in first["loc"])
    rest = f" (and {len(more)} more)" if more else ""
    text = f"{place}: {first['msg']}" if place else first["msg"]
    return "".join(c if c.isprintable() else "�" for c in text[:300]) + rest


def _put_aside(bad: list[BadLine], rejected: Path) -> None:
    """Append the bytes of bad lines to `rejected`, each once."""
    if not bad:
        return
    there = set()
    if rejected.is_file():
        there = {_digest(rejected, start, length) for _, start, length, _ in _lines(rejected)}
    with rejected.open("ab") as file:
        for line in bad:
            if (digest := _digest(line.path, line.start, line.length)) in there:
                continue
            there.add(digest)
            last = b""
            for part in _bytes_of(line.path, line.start, line.length):
                file.write(part)
                last = part
            if not last.endswith(b"\n"):
                file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())


def _bytes_of(path: Path, start: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (part := file.read(min(length, 2**20))):
            length -= len(part)
            yield part


def _digest(path: Path, start: int, length: int) -> bytes:
    digest = hashlib.sha256()
    for part in _bytes_of(path, start, length):
        digest.update(part.rstrip(b"\n") if part.endswith(b"\n") else part)
    return digest.digest()


def _locked(path: Path) -> int | None:
    """Hold `path` against other runs until it is closed or this process ends; `None` where the system cannot lock."""
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BlockingIOError(error.errno, "another run is writing there") from error
    except OSError:  # a network file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _unwritable(folder: Path, error: OSError) -> ResultsUnwritable:
    return ResultsUnwritable(f"cannot write results in {folder}: {error.strerror or error}")


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Turns an `OSError` into `ResultsUnwritable`."""
    try:
        yield
    except OSError as error:
        raise _unwritable(folder, error) from error
