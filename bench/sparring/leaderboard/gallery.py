"""The pictures of chosen cells, as renderings show them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sparring.leaderboard import wording
from sparring.pictures import FOLDER

if TYPE_CHECKING:
    from sparring.leaderboard.table import Board, TableCell

LARGEST_PAGE: Final = 3_000_000
"""Bytes of index.html with its pictures; what does not fit is named, and left to the folder."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture.

    Attributes:
        cell: number of the table's cell on the page.
        title: "pgd[eps=0.2] × none".
        place: "digits · cnn, repetition 0".
        about: what its rows and columns are.
        path: of the file, from the board's folder.
        uri: the file as a data URI; "" where the page has no room for it.
    """

    cell: int
    title: str
    place: str
    about: str
    path: str
    uri: str = ""


def gallery(board: Board, room: int = 0) -> list[Shown]:
    """In the order of the board; the first ones that fit into `room` bytes are embedded."""
    found = []
    for index, cell, entry_id, repetition in _entries(board):
        picture = board.pictures[entry_id]
        uri = f"data:image/png;base64,{base64.b64encode(picture.content).decode()}"
        fits = len(uri) <= room
        room -= len(uri) if fits else 0
        found.append(
            Shown(
                cell=index,
                title=f"{board.names.attack(cell.attack)} × {board.names.plugin(cell.defence)}",
                place=f"{' · '.join(map(board.names.plugin, (cell.dataset, cell.victim)))}, repetition {repetition}",
                about=wording.printable(picture.line.about),
                path=f"results/{FOLDER}/{picture.line.digest}.png",
                uri=uri if fits else "",
            )
        )
    return found


def _entries(board: Board) -> Iterator[tuple[int, TableCell, str, int]]:
    for index, cell in enumerate(board.cells):
        for entry in cell.entries:
            if entry.id in board.pictures:
                yield index, cell, entry.id, entry.repetition
