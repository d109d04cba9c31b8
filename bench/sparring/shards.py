"""A board's cells dealt out to several machines, so that what cells share is computed on one of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sparring.cell import Cell
from sparring.errors import BadInput


@dataclass(frozen=True, slots=True)
class Shard:
    """Number `index` of `count`, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """`"2/5"`.

    Raises:
        BadInput: it is no such pair, or out of range.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if found is None:
        raise BadInput(f"a shard is written I/N, the second of five as 2/5, not '{text}'")
    shard = Shard(int(found[1]), int(found[2]))
    if not 1 <= shard.index <= shard.count:
        raise BadInput(f"there is no shard {text}: they are numbered from 1 to N")
    return shard


def cells_of(shard: Shard, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one shard, in order. All shards together hold every cell once.

    Cells of one data set, victim and repetition share their clean fit and stay together; such groups go to the shard
    with the fewest cells so far, the largest first.
    """
    groups: dict[tuple[str, str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[str(cell.dataset), str(cell.victim), cell.repetition].append(cell)
    load = [0] * shard.count
    mine: set[str] = set()
    for group in sorted(groups.values(), key=len, reverse=True):  # stable: the board's order decides
        lightest = load.index(min(load))
        load[lightest] += len(group)
        if lightest == shard.index - 1:
            mine |= {cell.id for cell in group}
    return [cell for cell in cells if cell.id in mine]
