"""What `run`, `plan` and `explain` share: which board, which cells, where artifacts lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from sparring.errors import BadInput

if TYPE_CHECKING:
    from sparring.board import Board
    from sparring.catalogue import Catalogue
    from sparring.plan import Plan
    from sparring.suite import Suite

Command = TypeVar("Command", bound=Callable[..., object])


@dataclass(frozen=True)
class Chosen:
    """A board and its suite, and the catalogue that both were read with."""

    board: Board
    suite: Suite
    catalogue: Catalogue
    written: str | None = None

    def plan(self, versions: Mapping[str, str] | None = None) -> Plan:
        """What a run would do; `versions` become part of every key.

        Raises:
            BadInput: no cell is left to run; names the suite file, where there is one.
        """
        from sparring.located_yaml import read_yaml
        from sparring.plan import make_plan

        try:
            return make_plan(self.suite, self.catalogue, versions)
        except BadInput as error:
            if self.written is None and error.trail:
                read_yaml(self.board.suite_file).locate(error)
            elif self.written is None:
                error.file = self.board.suite_file
            raise

    def settle(self) -> None:
        """Make the board's folder, with its suite file.

        Raises:
            BadInput: the folder cannot be written, or belongs to another board.
        """
        if self.written is None:
            self.board.settle()
            return
        file = self.board.suite_file
        try:
            if file.exists() and file.read_bytes() != self.written.encode():
                raise BadInput(f"{file} is another board; name a folder of its own with --out")
            self.board.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(self.written, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"the board's folder {self.board.folder} cannot be written: {error.strerror}") from error


def product_options(command: Command) -> Command:
    """BOARD, or the product of selectors."""
    repeated = {"multiple": True, "metavar": "SELECTOR"}
    for name in ("defence", "attack", "victim", "dataset"):
        text = f"{name} of an ad-hoc board, as name[param=value,...]; may be repeated"
        command = click.option(f"--{name}", f"{name}s", help=text, **repeated)(command)  # type: ignore[arg-type]
    command = click.option("--repetitions", type=click.IntRange(min=1), help="repetitions of an ad-hoc board")(command)
    command = click.option("--out", type=click.Path(path_type=Path), help="folder of an ad-hoc board")(command)
    return click.argument("board", required=False)(command)


def choose(
    board: str | None,
    datasets: tuple[str, ...],
    victims: tuple[str, ...],
    attacks: tuple[str, ...],
    defences: tuple[str, ...],
    repetitions: int | None,
    out: Path | None,
) -> Chosen:
    """The board that was named, or one made of selectors.

    Raises:
        BadInput: neither, both, or something unknown.
    """
    from sparring.board import find_board
    from sparring.catalogue import discover
    from sparring.suite import load_suite

    picked = {"--dataset": datasets, "--victim": victims, "--attack": attacks, "--defence": defences}
    if board is not None:
        extra = [name for name, values in picked.items() if values]
        extra += ["--repetitions"] * (repetitions is not None) + ["--out"] * (out is not None)
        if extra:
            raise BadInput(f"{extra[0]} does not go with a board; change {board}'s suite.yaml instead")
        found = find_board(board)
        catalogue = discover()
        return Chosen(found, load_suite(found.suite_file, catalogue), catalogue)
    missing = [name for name in ("--dataset", "--victim") if not picked[name]]
    if missing:
        raise BadInput(f"name a board (sparring run digits), or give {' and '.join(missing)}")
    return _ad_hoc(discover(), picked, repetitions or 1, out)


def _ad_hoc(catalogue: Catalogue, picked: dict[str, tuple[str, ...]], repetitions: int, out: Path | None) -> Chosen:
    import yaml

    from sparring.board import BOARDS_FOLDER, SUITE_FILE, Board
    from sparring.keys import digest_of
    from sparring.suite import suite_from_selectors

    axes = {
        "datasets": list(picked["--dataset"]),
        "victims": list(picked["--victim"]),
        "attacks": list(picked["--attack"]) or ["none"],
        "defences": list(picked["--defence"]) or ["none"],
    }
    suite = suite_from_selectors(
        catalogue,
        datasets=axes["datasets"],
        victims=axes["victims"],
        attacks=axes["attacks"],
        defences=axes["defences"],
        repetitions=repetitions,
        name="adhoc",
    )
    content = {"name": "adhoc", "title": "Ad-hoc board", "repetitions": repetitions, **axes}
    folder = out or BOARDS_FOLDER / f"adhoc-{digest_of(content)[:8]}"
    board = Board(folder.name, folder, folder / SUITE_FILE)
    return Chosen(board, suite, catalogue, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def cache_folder(given: Path | None) -> Path:
    """`--cache`, or `SPARRING_CACHE`, or the user's cache folder."""
    if given is not None:
        return given
    if named := os.environ.get("SPARRING_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sparring"
