"""Crosshatching against images, and morphological filters against crosshatching."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sparring.hookspecs import hookimpl
from sparring.plugin import AttackSpec, DefenceSpec
from sparring_crosshatch import crosshatch, open_close

if TYPE_CHECKING:
    from sparring.cell import Cell


@hookimpl
def sparring_attacks() -> Iterable[AttackSpec]:
    return [crosshatch.SPEC]


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    return [open_close.SPEC]


@hookimpl
def sparring_objections(cell: Cell) -> Iterable[str]:
    """A filter that filters nothing is no defence of its own."""
    if cell.defence.name == open_close.SPEC.name and cell.defence.params.window == 1:
        yield "open-close with a window of one pixel leaves every image as it is; that is the defence none"
