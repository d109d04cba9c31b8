"""Boards as they are in a folder, or as they were at a git revision."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sparring.board import BOARDS_FOLDER, SUITE_FILE
from sparring.errors import BadInput


@contextmanager
def boards_at(place: str) -> Iterator[Mapping[str, Path]]:
    """The boards that `place` names: folders by their path below it, the board itself as its folder's name.

    Args:
        place: a board's folder, a folder of boards, or a git revision: `main` has its boards in `leaderboards`,
            `main:some/folder` elsewhere.

    Raises:
        BadInput: it is neither, or has no board with results.
    """
    if Path(place).is_dir():
        yield boards_in(Path(place))
        return
    with TemporaryDirectory() as scratch:
        revision, _, path = place.partition(":")
        _extract(revision, path or str(BOARDS_FOLDER), Path(scratch))
        yield boards_in(Path(scratch) / (path or BOARDS_FOLDER), place)


def boards_in(folder: Path, called: str = "") -> dict[str, Path]:
    """The boards with results in a folder, or the one that it is; none where it is a board that was never run.

    Args:
        called: what an error calls it, if not by its path.

    Raises:
        BadInput: there is none.
    """
    if (folder / "results").is_dir():
        return {folder.resolve().name: folder}
    found = {path.parent.relative_to(folder).as_posix(): path.parent for path in sorted(folder.rglob("results"))}
    if not found and not (folder / SUITE_FILE).is_file():
        raise BadInput(f"{called or folder} has no board with results")
    return found


def _extract(revision: str, path: str, into: Path) -> None:
    """Files of a revision, as git has them; nothing is checked out."""
    if revision.startswith("-"):
        raise BadInput(f"'{revision}' is neither a folder nor a git revision")
    try:
        done = subprocess.run(
            ["git", "archive", "--format=tar", revision, "--", path], capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"'{revision}' is no folder, and git cannot be asked: {error}") from error
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip().splitlines()
        told = f" ({why[0].removeprefix('fatal: ')})" if why else ""
        raise BadInput(f"'{revision}:{path}' is neither a folder nor to be had from git{told}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(into, filter="data")


def commit_dates(folder: Path, commits: Iterable[str]) -> list[str]:
    """Days ("2026-11-21") of those of `commits` that the repository around `folder` has, in order, each once.

    Args:
        commits: as records name them: 40 hexadecimal digits, and `+` where files were changed; anything else is
            passed over, since records may be other people's.
    """
    names = {commit.removesuffix("+") for commit in commits}
    hashes = sorted(name for name in names if re.fullmatch("[0-9a-f]{40}", name))
    return sorted({day for name in hashes if (day := _day(folder, name))})


def _day(folder: Path, commit: str) -> str:
    command = ["git", "-C", str(folder), "show", "--no-patch", "--format=%cs", commit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
