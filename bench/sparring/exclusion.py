"""Patterns over cells. Only `*` and `?` are special: brackets stand for themselves, as selectors are full of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sparring.cell import Cell, Selection

PARTS = ("dataset", "victim", "attack", "defence")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    specials = {"*": ".*", "?": "."}
    return re.compile("".join(specials.get(mark) or re.escape(mark) for mark in pattern), re.DOTALL)


def glob_match(pattern: str, text: str) -> bool:
    """Whether `pattern` fits the whole of `text`; `*` stands for any characters, `/` included, `?` for one."""
    return _compiled(pattern).fullmatch(text) is not None


def fits_label(pattern: str, label: str) -> bool:
    """Whether `pattern` fits a plugin with its parameters, or its name alone: `pgd` fits `pgd[epsilon=0.1]`."""
    return glob_match(pattern, label) or glob_match(pattern, label.partition("[")[0])


@dataclass(frozen=True, slots=True)
class CellPattern:
    """Fits a cell when every stated part does.

    Attributes:
        id: for the whole cell id, `dataset/victim/attack/defence/rN`; `None`: not stated.
        parts: (part, patterns) pairs; one of the patterns must fit. A pattern without parameters, `pgd` say, fits the
            plugin whatever its parameters are.
    """

    id: str | None = None
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def matches(self, cell: Cell) -> bool:
        if self.id is not None and not glob_match(self.id, cell.id):
            return False
        return all(_fits(patterns, _texts(cell, part)) for part, patterns in self.parts)

    def __str__(self) -> str:
        parts = (f"{part}: {' | '.join(patterns)}" for part, patterns in self.parts)
        return self.id if self.id is not None else ", ".join(parts)


def _fits(patterns: tuple[str, ...], texts: tuple[str, ...]) -> bool:
    return any(glob_match(pattern, text) for pattern in patterns for text in texts)


def _texts(cell: Cell, part: str) -> tuple[str, ...]:
    selection: Selection = getattr(cell, part)
    labels = {"attack": cell.attack_label, "defence": cell.defence_label}
    return (selection.name, str(selection), labels.get(part, selection.name))
