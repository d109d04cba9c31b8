"""The board's README.md: tables that read well on a code host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sparring.leaderboard import wording
from sparring.leaderboard.gallery import gallery
from sparring.leaderboard.headline import headline
from sparring.leaderboard.labels import Names
from sparring.leaderboard.markdown_papers import markdown_papers
from sparring.leaderboard.markdown_summary import markdown_summary
from sparring.leaderboard.markdown_text import code, escaped, row_of
from sparring.leaderboard.omitted import applicable
from sparring.leaderboard.predictions import Predictions, predictions
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
        _coverage(board),
        *_short(board),
        *markdown_summary(board),
        *markdown_papers(board),
        *(block for table in board.tables for block in _table(table)),
        _reading(board),
        *_details(board),
    ]
    return "\n\n".join(blocks) + "\n"


def _coverage(board: Board) -> str:
    facts = dict(wording.facts(board.provenances))
    made = [f"{name} {facts[name]}" for name in ("sparring", "torch") if name in facts]
    made += [facts[name] for name in ("processor", "device") if name in facts]
    behind = "everything behind these tables" if board.detailed else "the same tables in colour"
    lines = [
        f"**{wording.coverage(board)}**: {wording.size(board)}.",
        f"Made with {escaped(', '.join(made))}." if made else "",
        f"[index.html](index.html) has {behind}, [table.csv](table.csv) the numbers as data.",
    ]
    return " ".join(line for line in lines if line)


def _short(board: Board) -> Iterator[str]:
    lines = [
        f"- **{escaped(told.about)}**: {f'**{escaped(told.best)}** ' if told.best else ''}{escaped(told.text)}"
        for told in headline(board)
    ]
    if lines:
        yield "## In short"
        yield "\n".join(lines)
        yield (
            "Beyond chance: the 95 % interval of the paired difference over repetitions leaves out 0. It is given in "
            "brackets; of several victims from its lowest to its highest end."
        )


def _table(table: Table) -> Iterator[str]:
    shown = applicable(table)
    yield f"## {escaped(wording.title(table))}"
    if shown.rows and shown.columns:
        yield "\n".join(_lines(table, shown.rows, shown.columns))
    if shown.omitted:
        yield escaped(shown.omitted)


def _lines(table: Table, rows: Sequence[str], columns: Sequence[Column]) -> Iterator[str]:
    yield row_of(["attack", *(_heading(table, column) for column in columns)])
    yield row_of([":--", *("--:" for _ in columns)])
    for row in rows:
        yield row_of([code(table.names.attack(row)), *(_cell(table, row, column) for column in columns)])
    if table.worst:
        yield row_of(["**worst case**", *(_worst(table, column) for column in columns)])


def _cell(table: Table, row: str, column: Column) -> str:
    if table.repeats(row, column):
        return wording.SAME
    cell = table.cells.get((row, column.label))
    return "" if cell is None else wording.cell_text(cell).replace(" / ", "<br>")


def _worst(table: Table, column: Column) -> str:
    """Once for a guard: it is over both ways of attacking it."""
    worst = table.worst.get(column.label)
    if worst is None:
        return ""
    second = column.knowledge == "adaptive" and f"{column.base}@oblivious" in table.worst
    return wording.SAME if second else f"**{wording.worst_text(worst)}**"


def _heading(table: Table, column: Column) -> str:
    return code(table.names.plugin(column.base)) + (f"<br>{column.knowledge}" if column.knowledge else "")


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
    if any(table.repeats(row, column) for table in board.tables for row in table.rows for column in table.columns):
        lines.append(f"- {wording.SAME}: the same as the oblivious attack, which does not depend on knowing the guard.")
    if board.names.left_out:
        told = ", ".join(map(code, board.names.left_out))
        lines.append(f"- Names leave out what all of a kind have in common: {told}. table.csv has them whole.")
    shown = [state for state in State if state in wording.SYMBOLS and board.counts.get(state)]
    if shown:
        marks = ", ".join(f"{wording.SYMBOLS[state]} {state.value}" for state in shown)
        lines.append(f"- {marks}. *(2 of 3)*: only so many repetitions were scored.")
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _details(board: Board) -> Iterator[str]:
    silent, warned = wording.silent_cells(board), wording.warned_cells(board)
    if silent:
        items = [
            f"- {wording.SYMBOLS[state]} {wording.counted(times, 'cell')}: {escaped(said)} "
            f"({_named(cells, board.names)})"
            for state, said, cells, times in silent
        ]
        yield _folded("Cells without a number, and why", items)
    if warned:
        items = [
            f"- **{escaped(identifier)}** ({_named(cells, board.names)}): {escaped(example)}"
            for identifier, example, cells in warned
        ]
        yield _folded("Warnings", items)
    if answers := predictions(board):
        items = [f"- {' × '.join(_place(found.cell, board.names))}: {_answers(found)}" for found in answers]
        yield _folded("Poisoned models that collapsed, and onto which classes", items)
    if shown := gallery(board):
        items = [f"- {code(found.title)}, {escaped(found.place)}: [picture]({found.path})" for found in shown]
        yield _folded("Pictures: clean, attacked, the difference magnified, Grad-CAM", items)
    if board.problems or board.strays:
        items = [f"- {escaped(problem)}" for problem in board.problems]
        if board.strays:
            items.append(f"- {wording.counted(board.strays, 'record')} of cells that the suite does not have")
        yield _folded("Records left out", items)
    if board.metrics:
        present = {name for cell in board.cells for name in cell.metrics}
        rows = [
            row_of([code(name), escaped(info.definition), escaped(info.direction), escaped(info.unit)])
            for name, info in sorted(board.metrics.items())
            if name in present
        ]
        head = [row_of(["metric", "definition", "better for the defender", "unit"]), row_of([":--"] * 4)]
        yield _folded("Metrics in table.csv and index.html", head + rows, limit=len(rows) + 2)
    if board.provenances:
        facts = [f"- {escaped(name)}: {escaped(value)}" for name, value in wording.facts(board.provenances)]
        yield _folded("Provenance", facts, limit=len(facts))


def _place(cell: TableCell, names: Names) -> list[str]:
    parts = (
        names.plugin(cell.dataset),
        names.plugin(cell.victim),
        names.attack(cell.attack),
        names.plugin(cell.defence),
    )
    return [code(part) for part in parts]


def _answers(found: Predictions) -> str:
    """ "class 2: 61.0 %, class 7: 12.3 %"."""
    return ", ".join(f"class {number}: {wording.percent(share)} %" for number, share in found.shares)


def _named(cells: Sequence[TableCell], names: Names) -> str:
    """The first few cells, by attack and defence."""
    found = list(
        dict.fromkeys(f"{code(names.attack(cell.attack))} × {code(names.plugin(cell.defence))}" for cell in cells)
    )
    more = [f"{len(found) - NAMED} more"] if len(found) > NAMED else []
    return ", ".join(found[:NAMED] + more)


def _folded(summary: str, items: Sequence[str], limit: int = LISTED) -> str:
    rest = [f"- and {len(items) - limit} more, in `index.html`"] if len(items) > limit else []
    body = "\n".join([*items[:limit], *rest])
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"
