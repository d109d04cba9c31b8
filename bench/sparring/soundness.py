"""Whether a board's folder may be published: its records are valid and those that the suite asks for, and what is
rendered says what they say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from sparring import media
from sparring.journal import JOURNAL, read_records
from sparring.leaderboard.board import RENDERERS
from sparring.pictures import INDEX, Pictures
from sparring.plan import outdated
from sparring.record import NotApplicable, Record, Scored

if TYPE_CHECKING:
    from sparring.journal import Results
    from sparring.leaderboard.table import Board
    from sparring.plan import Plan

NAMED: Final = 3
"""Cells that are named; the others are counted."""


def problems_of_records(results: Results) -> Iterator[str]:
    """Lines that are no records, cells with two records, kept files that are not there or not what they say."""
    yield from map(str, results.problems)
    for path in sorted(results.folder.glob("*.jsonl")):
        if path.name == JOURNAL or not path.is_file():
            continue
        counts = Counter(found.cell.id for found in read_records(path) if isinstance(found, Record))
        if doubled := [cell for cell, count in counts.items() if count > 1]:
            yield f"{path.parent.name}/{path.name} has several records of {_named(doubled)}"
    digests = {
        name
        for record in results.by_cell.values()
        if isinstance(record.outcome, Scored)
        for name in record.outcome.media.values()
    }
    for name in sorted(digests):
        path = results.folder / media.FOLDER / f"{name}.safetensors"
        if not path.is_file():
            yield f"{results.folder.name}/{media.FOLDER}/{path.name}, which a record names, is not there"
        elif media.digest(np.fromfile(path, dtype=np.uint8)) != name:
            yield f"{results.folder.name}/{media.FOLDER}/{path.name} is not what its name says"
    yield from problems_of_pictures(results)


def problems_of_pictures(results: Results) -> Iterator[str]:
    """Pictures that are not what the index says, that show what is no longer recorded, or that nothing names."""
    found = Pictures(results.folder)
    yield from found.problems
    shown = found.of({cell: record.key for cell, record in results.by_cell.items()})
    current = {id(picture) for picture in shown.values()}
    if old := [picture.line.cell for picture in found.by_key.values() if id(picture) not in current]:
        yield f"pictures of records that have changed: {_named(old)}; 'sparring pictures' draws them again"
    named = {f"{picture.line.digest}.png" for picture in found.by_key.values()}
    if unnamed := [path.name for path in found.folder.glob("*") if path.name not in named | {INDEX}]:
        yield f"{results.folder.name}/{found.folder.name} has files that its index does not name: {_named(unnamed)}"


def other_suites(plan: Plan, results: Results) -> Iterator[str]:
    """That records were made for a suite of another digest, though their keys are those that this one plans: with
    fewer attacks, say, or another time limit. Nothing is wrong with them."""
    made_for = Counter(
        found.provenance.suite_digest
        for cell, stage in plan.goals.items()
        if (found := results.by_cell.get(cell)) is not None and found.key == stage.key
    )
    del made_for[plan.suite.digest]
    if made_for:
        digests = ", ".join(sorted(digest[:12] for digest in made_for))
        yield (
            f"{made_for.total()} of {len(plan.goals)} applicable cells were recorded for a suite of another digest, "
            f"{digests} and not {plan.suite.digest[:12]}, under the keys that this one plans"
        )


def problems_of_coverage(plan: Plan, results: Results) -> Iterator[str]:
    """Cells that are missing, failed, made with other code, parameters or data, or not of the suite."""
    old = {cell.id for cell in outdated(plan, results)}
    if old:
        yield f"{_counted(old)} recorded with other code, parameters, data or seeds than the suite's: {_named(old)}"
    cells = [cell.id for cell in plan.cells]
    if counted := {cell for cell in plan.objections if _scored(results.by_cell.get(cell))}:
        yield f"{_counted(counted)} recorded with a number that the suite's plugins object to: {_named(counted)}"
    if strays := results.by_cell.keys() - set(cells):
        yield (
            f"{_counted(strays)} recorded that the suite does not have: {_named(strays)}; "
            "'sparring leaderboard prune' drops them"
        )
    answered = {cell for cell in cells if cell not in old and _answered(results.by_cell.get(cell))}
    share = len(answered) / len(cells)
    if share < plan.suite.coverage:
        missing = [cell for cell in cells if cell not in answered]
        yield (
            f"{len(answered)} of {len(cells)} cells have a number or a reason, {share:.1%}, and the suite asks for "
            f"{plan.suite.coverage:.1%}; missing are {_named(missing)}"
        )


def stale_renderings(folder: Path, board: Board) -> Iterator[str]:
    """Files that are not what the records make."""
    for name, render in RENDERERS.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is not there; 'sparring leaderboard render {folder}' makes it"
        elif _but_figures(path.read_bytes()) != _but_figures(render(board).encode()):
            yield f"{name} does not say what the records say; 'sparring leaderboard render {folder}' renews it"


def _but_figures(content: bytes) -> bytes:
    """Without drawings, whose numbers stand in the tables: another version of matplotlib draws other paths."""
    return re.sub(rb'<figure class="curve".*?</figure>', b"", content, flags=re.DOTALL)


def _scored(record: Record | None) -> bool:
    return record is not None and isinstance(record.outcome, Scored)


def _answered(record: Record | None) -> bool:
    return record is not None and isinstance(record.outcome, Scored | NotApplicable)


def _named(cells: Collection[str]) -> str:
    names = sorted(cells)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _counted(cells: set[str]) -> str:
    return "1 cell was" if len(cells) == 1 else f"{len(cells)} cells were"
