"""The artifact store: content-addressed files of named arrays, on a disk that several processes share.

One artifact is one safetensors file, `ab/<key>.<SHA-256 of the file>.safetensors`. It is written to a temporary name,
fsynced and renamed, so that a name stands for a whole file; and because the name covers every byte, readers notice
any change. Opening a store never runs code and follows no symbolic link inside it.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sparring.data import Arrays
from sparring.tensors import MalformedTensors, header_of, tensors_in, write_tensors

ARTIFACT, CHECKPOINT = "safetensors", "checkpoint"
MAPPED_FROM = 1 << 20  # bytes; below it one read is cheaper than a mapping, and costs no file descriptor
LOCK = ".lock"
STALE = 24 * 3600.0  # seconds after which a temporary file belongs to nobody
_NAME = re.compile(rf"([0-9a-f]{{64}})\.([0-9a-f]{{64}})\.({ARTIFACT}|{CHECKPOINT})")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP}


class StoreProblem(RuntimeError):
    """The store's folder cannot be used; nothing more can be computed. The message names the folder."""


class StoreUnwritable(StoreProblem):
    """The folder cannot be written to."""


class StoreFull(StoreProblem):
    """The disk is full, or a quota or file size limit is reached."""


class StoreInUse(StoreProblem):
    """Others use the folder, so that nothing may be removed from it."""


class Damaged(RuntimeError):
    """An artifact's file is not what was written. The message names it; the file is already removed."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """What a stage left.

    Attributes:
        arrays: read-only; large ones are memory-mapped.
        meta: plain JSON.
    """

    arrays: Arrays
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a store.

    Attributes:
        key: of its stage.
        path: where it lies.
        size: in bytes.
        written: when, in seconds since 1970.
        checkpoint: whether it is that of an unfinished stage, and no artifact.
    """

    key: str
    path: Path
    size: int
    written: float
    checkpoint: bool


@dataclass(frozen=True, slots=True)
class _Version:
    """One file of a key; the newest counts."""

    modified: int
    name: str
    size: int


class Store:
    """The artifact store in `root`. Cheap to make; nothing is touched before it is used.

    Methods that take a key raise `ValueError` where it is not 64 hexadecimal digits.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._verified: set[tuple[str, int, int, int]] = set()

    def prepare(self) -> None:
        """Make the folder, see that it can be written to, and sweep temporary files older than a day.

        Raises:
            StoreUnwritable, StoreFull: it cannot be used.
        """
        with self._explained():
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".{secrets.token_hex(8)}.tmp"
            try:
                probe.write_bytes(b"\0" * 4096)
            finally:
                probe.unlink(missing_ok=True)
            for name in self._folders():
                with self._folder(name) as folder:
                    _sweep(folder)

    def save(self, key: str, arrays: Arrays, meta: Mapping[str, Any]) -> None:
        """Keep an artifact durably, in the place of an older one, and clear the key's checkpoints.

        Raises:
            TypeError: an array has a dtype that cannot be stored. ValueError: `meta` is not plain JSON.
            StoreUnwritable, StoreFull: the disk says no; what was stored before is untouched.
        """
        self._write(key, ARTIFACT, arrays, {"key": key, "meta": meta})
        self._remove(key, CHECKPOINT)

    def load(self, key: str) -> Artifact:
        """The artifact of `key`.

        Raises:
            KeyError: there is none.
            Damaged: its file was changed or cut short; it is removed, so that it can be computed again.
        """
        while version := self._newest(key, ARTIFACT):
            with suppress(FileNotFoundError):  # a writer replaced it in the meantime
                return self._read(key, version)
        raise KeyError(key)

    def has(self, key: str) -> bool:
        """Whether there is an artifact; its bytes are not looked at. `intact` does."""
        return self._newest(key, ARTIFACT) is not None

    def intact(self, key: str) -> bool:
        """Whether there is an artifact that `load` would accept. A damaged one is removed."""
        try:
            self.load(key)
        except (KeyError, Damaged):
            return False
        return True

    def discard(self, key: str) -> None:
        """Remove the artifact and the checkpoints of `key`, where there are any."""
        self._remove(key, ARTIFACT)
        self._remove(key, CHECKPOINT)

    def size(self) -> int:
        """Bytes of all artifacts and checkpoints."""
        total = 0
        for name in self._folders():
            with self._folder(name) as folder:
                total += sum(version.size for version in _versions(folder, ""))
        return total

    def entries(self) -> Iterator[Entry]:
        """All artifacts and checkpoints, in the order of their keys. Their bytes are not looked at."""
        for name in self._folders():
            with self._folder(name) as folder:
                found = _versions(folder, "")
            for version in sorted(found, key=lambda version: version.name):
                key, _, suffix = version.name.split(".")
                path = self.root / name / version.name
                yield Entry(key, path, version.size, version.modified / 1e9, suffix == CHECKPOINT)

    def label(self, entry: Entry) -> str:
        """What the stage of an artifact is called, "fit cnn on digits, r0"; "" where its file does not say."""
        with suppress(FileNotFoundError, MalformedTensors), self._content_of(entry) as data:
            return str(header_of(data).meta.get("meta", {}).get("label", ""))
        return ""

    def whole(self, entry: Entry) -> bool:
        """Whether a file's bytes are those that were written. A damaged one stays where it is.

        Raises:
            FileNotFoundError: it is gone by now.
        """
        with self._content_of(entry) as data:
            return hashlib.sha256(data).hexdigest() == entry.path.name.split(".")[1]

    def remove(self, entry: Entry) -> None:
        """Remove one file, which may be gone. For who holds the store `alone`."""
        with self._explained(), suppress(FileNotFoundError), self._folder(_prefix(entry.key)) as folder:
            os.unlink(entry.path.name, dir_fd=folder)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `alone` out while the block runs; waits for one that is under way. Many may use a store at a time."""
        with self._lock(exclusive=False):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else uses the store while the block runs.

        Raises:
            StoreInUse: somebody does. StoreUnwritable: the folder cannot be written to.
        """
        with self._lock(exclusive=True):
            yield

    def checkpoints(self, key: str) -> StageCheckpoints:
        """Where the stage with this key keeps its checkpoints until its artifact is saved."""
        return StageCheckpoints(self, key)

    # ------------------------------------------------------------------ files

    def _write(self, key: str, suffix: str, arrays: Arrays, meta: Mapping[str, Any]) -> None:
        with self._explained(), self._folder(_prefix(key), create=True) as folder:
            temporary = f".{key}.{secrets.token_hex(8)}.tmp"
            try:
                name = f"{key}.{_write_file(folder, temporary, arrays, meta)}.{suffix}"
                _make_newest(folder, temporary, _versions(folder, f"{key}.", suffix))
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
            # Every writer keeps the greatest version that it sees, so the greatest of all survives every race.
            for older in _versions(folder, f"{key}.", suffix)[:-1]:
                with suppress(FileNotFoundError):
                    os.unlink(older.name, dir_fd=folder)

    def _read(self, key: str, version: _Version) -> Artifact:
        with self._folder(_prefix(key)) as folder:
            descriptor = _open_regular(folder, version.name)
            with os.fdopen(descriptor, "rb") as file:
                try:
                    return self._checked(file, key, version.name)
                except ValueError as problem:
                    with suppress(FileNotFoundError):
                        os.unlink(version.name, dir_fd=folder)
                    path = self.root / _prefix(key) / version.name
                    raise Damaged(f"artifact {path} is damaged ({problem}); it was removed") from None

    def _checked(self, file: IO[bytes], key: str, name: str) -> Artifact:
        """The artifact in an open file, after its digest was verified once in this process."""
        status = os.fstat(file.fileno())
        identity = (name, status.st_ino, status.st_mtime_ns, status.st_size)
        data = _content(file, status.st_size)
        if identity not in self._verified:
            if hashlib.sha256(data).hexdigest() != name.split(".")[1]:
                raise MalformedTensors("its bytes are not those that were written")
            self._verified.add(identity)
        header = header_of(data)
        if header.meta.get("key") != key:
            raise MalformedTensors("it belongs to another key")
        return Artifact(tensors_in(data, header), header.meta["meta"])

    @contextmanager
    def _content_of(self, entry: Entry) -> Iterator[bytes | mmap.mmap]:
        with self._folder(_prefix(entry.key)) as folder:
            descriptor = _open_regular(folder, entry.path.name)
        with os.fdopen(descriptor, "rb") as file:
            yield _content(file, os.fstat(descriptor).st_size)

    @contextmanager
    def _lock(self, *, exclusive: bool) -> Iterator[None]:
        """Hold the store's lock, where the system has such; it ends with this process, however that ends."""
        try:
            import fcntl
        except ImportError:
            yield
            return
        with self._explained():
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreInUse(f"a run is using the artifact store {self.root}") from None
        except OSError:  # a network file system without locks
            if exclusive:
                os.close(descriptor)
                raise StoreInUse(f"the file system of {self.root} cannot say whether a run uses it") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _newest(self, key: str, suffix: str) -> _Version | None:
        try:
            with self._folder(_prefix(key)) as folder:
                versions = _versions(folder, f"{key}.", suffix)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return versions[-1] if versions else None

    def _remove(self, key: str, suffix: str) -> None:
        with self._explained(), suppress(FileNotFoundError), self._folder(_prefix(key)) as folder:
            for version in _versions(folder, f"{key}.", suffix):
                with suppress(FileNotFoundError):
                    os.unlink(version.name, dir_fd=folder)

    def _folders(self) -> list[str]:
        try:
            with os.scandir(self.root) as entries:
                return sorted(e.name for e in entries if len(e.name) == 2 and e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    @contextmanager
    def _folder(self, name: str, *, create: bool = False) -> Iterator[int]:
        """A descriptor of one of the 256 folders. Everything below goes through it, so no link can lead astray."""
        if create:
            self.root.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                (self.root / name).mkdir()
        descriptor = os.open(self.root / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(f"no space left for the artifact store {self.root} ({error.strerror})") from error
            if error.errno in _FORBIDDEN:
                raise StoreUnwritable(
                    f"cannot write to the artifact store in {self.root} ({error.strerror})"
                ) from error
            raise


class StageCheckpoints:
    """The checkpoints of one stage: a `sparring.contracts.Checkpoints`. The newest one only is kept."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key

    def write(self, arrays: Arrays) -> None:
        """Keep `arrays` in the place of the last checkpoint. Raises what `Store.save` does."""
        self._store._write(self._key, CHECKPOINT, arrays, {"key": self._key, "meta": {}})

    def read(self) -> Arrays | None:
        """The last checkpoint; `None` when there is none. A damaged one is removed and the one before it taken."""
        while version := self._store._newest(self._key, CHECKPOINT):
            with suppress(FileNotFoundError, Damaged):
                return self._store._read(self._key, version).arrays
        return None


def _prefix(key: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise ValueError(f"an artifact's key has 64 hexadecimal digits; got {key!r}")
    return key[:2]


def _versions(folder: int, prefix: str, suffix: str | None = None) -> list[_Version]:
    """The artifacts in a folder whose names start with `prefix`, oldest first."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix) or not (match := _NAME.fullmatch(entry.name)):
                continue
            if entry.is_file(follow_symlinks=False) and suffix in (None, match[3]):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append(_Version(status.st_mtime_ns, entry.name, status.st_size))
    return sorted(found, key=lambda version: (version.modified, version.name))


def _make_newest(folder: int, name: str, others: list[_Version]) -> None:
    """Date a file after all `others`, also when the clock was set back since they were written."""
    now = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
    if others and others[-1].modified >= now:
        os.utime(name, ns=(now, others[-1].modified + 1), dir_fd=folder, follow_symlinks=False)


def _sweep(folder: int) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".tmp"):
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                        os.unlink(entry.name, dir_fd=folder)


def _write_file(folder: int, name: str, arrays: Arrays, meta: Mapping[str, Any]) -> str:
    """Write and fsync a new file; returns its SHA-256."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        digest = write_tensors(file, arrays, meta)
        file.flush()
        os.fsync(descriptor)
    return digest


def _open_regular(folder: int, name: str) -> int:
    """Open a plain file for reading. Raises `FileNotFoundError` where it is anything else by now."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(name) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(name)
    return descriptor


def _content(file: IO[bytes], size: int) -> bytes | mmap.mmap:
    if size < MAPPED_FROM:
        return file.read()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
