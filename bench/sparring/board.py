"""Boards: a folder with a suite and its results. Finds one by name or path; ships the bundled ones."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sparring.errors import BadInput, near_miss

SUITE_FILE = "suite.yaml"
BOARDS_FOLDER = Path("leaderboards")


@dataclass(frozen=True)
class Board:
    """A board on disk.

    Attributes:
        name: for people.
        folder: where results and rendered files go.
        suite_file: what is read; inside the package for a bundled board that has no folder yet.
    """

    name: str
    folder: Path
    suite_file: Path

    def settle(self) -> None:
        """Make the folder, with a copy of the bundled suite, so that it can be changed and committed."""
        own = self.folder / SUITE_FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not own.exists():
                own.write_bytes(self.suite_file.read_bytes())
        except OSError as error:
            raise BadInput(f"the board's folder {self.folder} cannot be written: {error.strerror}") from error


def bundled() -> dict[str, Path]:
    """The suites that ship with the package, by name."""
    folder = Path(str(files("sparring") / "boards"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_board(name: str) -> Board:
    """A board by path (folder or suite file), by its folder below `leaderboards` (`single-pixel/quick`), or bundled.

    Raises:
        BadInput: there is none; names the nearest.
    """
    if "\0" in name:
        raise BadInput("the name of a board holds a zero byte")
    path = Path(name)
    if path.is_file():
        path = _folder_of(path)
    for folder, called in ((path, path.resolve().name), (BOARDS_FOLDER / name, name.rstrip("/"))):
        if (folder / SUITE_FILE).is_file():
            return Board(called, folder, folder / SUITE_FILE)
    if name in bundled():
        return Board(name, BOARDS_FOLDER / name, bundled()[name])
    if path.is_dir():
        raise BadInput(f"the folder '{name}' has no {SUITE_FILE}")
    here = {p.parent.relative_to(BOARDS_FOLDER).as_posix() for p in BOARDS_FOLDER.rglob(SUITE_FILE)}
    known = sorted(here | set(bundled()))
    raise BadInput(f"there is no board '{name}'{near_miss(name, known)} (known: {', '.join(known) or 'none'})")


def _folder_of(file: Path) -> Path:
    if file.name != SUITE_FILE:  # results of two suites in one folder would mix
        raise BadInput(f"a board is a folder with a {SUITE_FILE}; move {file} to <board>/{SUITE_FILE}")
    return file.parent
