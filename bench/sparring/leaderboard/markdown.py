"""The board's README.md: tables that read well on a code host."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sparring.leaderboard import wording
from sparring.leaderboard.table import Board, Column, State, Table, TableCell

LISTED: Final = 15
"""Reasons, errors and warnings that are listed; the page has all."""

NAMED: Final = 4
"""Cells that are named beside a reason."""


def markdown(board: Board) -> str:
    """All of README.md."""
    blocks = [
        f"# {escaped(board.title or 'Leaderboard')}",
        *([escaped(board.description)] if board.description else []),
        _summary(board),
        *(block for table in board.tables for block in _table(table)),
        _reading(board),
        *_details(board),
    ]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """`text` as itself: neither HTML, nor Markdown, nor a table's border."""
    flat = wording.printable(" ".join(text.split()))
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(flat, quote=False))


def code(text: str) -> str:
    """`text` as a code span that stays within its table cell."""
    flat = wording.printable(" ".join(text.split())).replace("`", "ˋ").replace("|", "\\|")
    return f"`{flat}`" if flat else ""


def _summary(board: Board) -> str:
    datasets = list(dict.fromkeys(table.dataset for table in board.tables))
    victims = list(dict.fromkeys(table.victim for table in board.tables))
    attacks = list(dict.fromkeys(row for table in board.tables for row in table.rows))
    defences = list(dict.fromkeys(column.base for table in board.tables for column in table.columns))
    product = [
        wording.counted(len(found), noun)
        for found, noun in ((datasets, "data set"), (victims, "victim"), (attacks, "attack"), (defences, "defence"))
    ]
    facts = dict(wording.facts(board.provenances))
    made = [f"{name} {facts[name]}" for name in ("sparring", "torch") if name in facts]
    made += [facts[name] for name in ("processor", "device") if name in facts]
    lines = [
        f"**{wording.coverage(board)}**: {', '.join(product)}, {wording.counted(board.repetitions, 'repetition')}.",
        f"Made with {escaped(', '.join(made))}." if made else "",
        "[index.html](index.html) has everything behind these tables, [table.csv](table.csv) the numbers as data.",
    ]
    return " ".join(line for line in lines if line)


def _table(table: Table) -> Iterator[str]:
    yield f"## {escaped(table.dataset)} · {escaped(table.victim)}"
    lines = [_row(["attack", *(_heading(column) for column in table.columns)])]
    lines.append(_row([":--", *("--:" for _ in table.columns)]))
    for row in table.rows:
        found = [table.cells.get((row, column.label)) for column in table.columns]
        lines.append(_row([code(row), *("" if cell is None else wording.cell_text(cell) for cell in found)]))
    if table.worst:
        found_worst = [table.worst.get(column.label) for column in table.columns]
        texts = ["" if worst is None else f"**{wording.worst_text(worst)}**" for worst in found_worst]
        lines.append(_row(["**worst case**", *texts]))
    yield "\n".join(lines)


def _heading(column: Column) -> str:
    return code(column.base) + (f"<br>{column.knowledge}" if column.knowledge else "")


def _row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _reading(board: Board) -> str:
    """How to read the tables; only what these tables show."""
    cells = board.cells
    shorts = {measure.short for cell in cells for measure in cell.measures}
    n = board.repetitions
    over = "over repetitions that differ in their seeds" if n > 1 else "of one repetition"
    lines = [
        "## How to read the tables",
        f"- Numbers are percentages of the evaluated test images, mean ± standard deviation {over}.",
        "- Rows of attacks at inference: **robust accuracy**, the share of images classified correctly after the "
        "attack. `none` and attacks on the training set: **clean accuracy**, on untouched test images. Higher is "
        "better for the defender.",
    ]
    if "ASR" in shorts:
        lines.append(
            "- **CA** is clean accuracy, **ASR** the attack success rate: the share of triggered images, or of "
            "targets, that get the attacker's label. Lower is better for the defender. *k/n* counts trials, with their "
            "95 % Wilson interval."
        )
    if "RA" in shorts:
        lines.append(
            "- Attacks without a budget show **RA**, robust accuracy, beside the mean distortion they needed, in units "
            "of [0, 1] pixels; more distortion is better for the defender. They stay out of the worst case."
        )
    if any(table.worst for table in board.tables):
        lines.append(
            "- **worst case**: an image counts only if it is classified correctly after *every* attack at inference of "
            "the table, at all their budgets. A guard's oblivious attacks (which do not know it) and adaptive ones "
            "(which do) count together."
        )
    shown = [state for state in State if state in wording.SYMBOLS and board.counts.get(state)]
    if shown:
        marks = ", ".join(f"{wording.SYMBOLS[state]} {state.value}" for state in shown)
        lines.append(f"- {marks}. *(2 of 3)*: only so many repetitions were scored.")
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _details(board: Board) -> Iterator[str]:
    silent, warned = wording.silent_cells(board), wording.warned_cells(board)
    if silent:
        items = [
            f"- {wording.SYMBOLS[state]} {wording.counted(times, 'cell')}: {escaped(said)} ({_named(cells)})"
            for state, said, cells, times in silent
        ]
        yield _folded("Cells without a number, and why", items)
    if warned:
        items = [
            f"- **{escaped(identifier)}** ({_named(cells)}): {escaped(example)}"
            for identifier, example, cells in warned
        ]
        yield _folded("Warnings", items)
    if board.problems or board.strays:
        items = [f"- {escaped(problem)}" for problem in board.problems]
        if board.strays:
            items.append(f"- {wording.counted(board.strays, 'record')} of cells that the suite does not have")
        yield _folded("Records left out", items)
    if board.metrics:
        present = {name for cell in board.cells for name in cell.metrics}
        rows = [
            _row([code(name), escaped(info.definition), escaped(info.direction), escaped(info.unit)])
            for name, info in sorted(board.metrics.items())
            if name in present
        ]
        head = [_row(["metric", "definition", "better for the defender", "unit"]), _row([":--"] * 4)]
        yield _folded("Metrics in table.csv and index.html", head + rows, limit=len(rows) + 2)
    if board.provenances:
        facts = [f"- {escaped(name)}: {escaped(value)}" for name, value in wording.facts(board.provenances)]
        yield _folded("Provenance", facts, limit=len(facts))


def _named(cells: Sequence[TableCell]) -> str:
    """The first few cells, by attack and defence."""
    names = list(dict.fromkeys(f"{code(cell.attack)} × {code(cell.defence)}" for cell in cells))
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join(names[:NAMED] + more)


def _folded(summary: str, items: Sequence[str], limit: int = LISTED) -> str:
    rest = [f"- and {len(items) - limit} more, in `index.html`"] if len(items) > limit else []
    body = "\n".join([*items[:limit], *rest])
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"
