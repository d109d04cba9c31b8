"""The board's index.html: one self-contained file; its tables are readable without a network and without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from sparring.leaderboard import wording
from sparring.leaderboard.aggregate import ASR, CLEAN, ROBUST
from sparring.leaderboard.curves import curves
from sparring.leaderboard.figures import svg
from sparring.leaderboard.gallery import LARGEST_PAGE, gallery
from sparring.leaderboard.headline import by_question
from sparring.leaderboard.heat import heat
from sparring.leaderboard.omitted import applicable
from sparring.leaderboard.page_data import PageData, threat_words
from sparring.leaderboard.page_summary import summary_tables
from sparring.leaderboard.paper_rows import HEADINGS, MEANING, heading, paper_rows
from sparring.leaderboard.papers import PaperComparison
from sparring.leaderboard.table import DETAILED, Board, Column, State, Table, TableCell
from sparring.leaderboard.transfer import TransferMatrix, transfer_matrices
from sparring.leaderboard.wrapping import breakable, wrappable


@dataclass(frozen=True, slots=True)
class Shown:
    """One cell as the page draws it. `strength` (0 to 100) and `side` place its colour: "hold" when the defender does
    better than even, "fall" when worse, "" without a number. `wide`: columns that it spans."""

    index: int
    cell: TableCell
    lines: tuple[tuple[str, str, str], ...]
    side: str
    strength: int
    state: str
    wide: int = 1


def page(board: Board) -> str:
    """All of index.html: the same bytes for the same board. At most `LARGEST_PAGE` of them with pictures."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "printable": wording.printable,
        "breakable": breakable,
        "wrappable": wrappable,
        "attack": board.names.attack,
        "plugin": board.names.plugin,
    }
    template, shown = environment.from_string(_template_text("page.html.j2")), _shown_on(board)
    bare = template.render(shown, gallery=gallery(board))
    if not board.pictures:
        return bare
    return template.render(shown, gallery=gallery(board, LARGEST_PAGE - len(bare.encode())))


def _shown_on(board: Board) -> dict[str, Any]:
    """All that the template shows, but for the pictures."""
    index = {id(cell): i for i, cell in enumerate(board.cells)}
    script, warned = Markup(_template_text("page.js")), wording.warned_cells(board)
    return {
        "board": board,
        "most": f"{DETAILED:,}",
        "style": Markup(_template_text("page.css")),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": _embedded(PageData(board).as_json() if board.detailed else None),
        "headline": by_question(board),
        "worrying": [identifier for identifier, _, _ in warned],
        "papers": [_paper_table(found, board) for found in board.papers],
        "paper_meaning": MEANING,
        "summaries": summary_tables(board),
        "figures": _figures(board),
        "transfers": [_transfer(found, board, index) for found in transfer_matrices(board)],
        "choices": _choices(board),
        "metrics": sorted({name for cell in board.cells for name in cell.metrics}),
        "grids": [_grid(table, index) for table in board.tables],
        "states": [state.value for state in State if board.counts.get(state)],
        "tiles": _tiles(board),
        "facts": wording.facts(board.provenances),
        "silent": wording.silent_cells(board),
        "warned": warned,
        "symbols": {state.value: symbol for state, symbol in wording.SYMBOLS.items() if board.counts.get(state)},
        "counted": wording.counted,
        "left_out": board.names.left_out,
    }


def _figures(board: Board) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """(data set and victim, [(caption, SVG)])."""
    found: dict[str, list[tuple[str, Markup]]] = {}
    for curve in curves(board):
        caption = f"{curve.attack}: {curve.metric} over {curve.axis}"
        found.setdefault(curve.place, []).append((caption, Markup(svg(curve, page=True))))
    return list(found.items())


def _template_text(name: str) -> str:
    return (files("sparring.leaderboard") / "templates" / name).read_text(encoding="utf-8")


def _paper_table(found: PaperComparison, board: Board) -> dict[str, Any]:
    """What all rows share is said once, above them."""
    rows = list(paper_rows(found, board.names))
    differing = [i for i in range(4) if len({row.about[i] for row in rows}) > 1] or [2]
    return {
        "title": heading(found),
        "reading": found.table.reading,
        "common": [rows[0].about[i] for i in range(4) if i not in differing] if rows else [],
        "headings": [*(HEADINGS[i] for i in differing), *HEADINGS[4:]],
        "rows": [([row.about[i] for i in differing], row) for row in rows],
    }


def _transfer(found: TransferMatrix, board: Board, index: Mapping[int, int]) -> dict[str, Any]:
    """The matrix as the template draws it: no attack, each surrogate, the victim itself."""
    names = board.names
    lines: list[tuple[tuple[str, tuple[str, ...]], list[TableCell | None]]] = [
        (names.plugin_parts(surrogate), [found.cells.get((surrogate, victim)) for victim in found.victims])
        for surrogate in found.surrogates
    ]
    for name, by_victim in (("no attack", found.untouched), ("its own model", found.direct)):
        if by_victim:
            lines.append(((name, ()), [by_victim.get(victim) for victim in found.victims]))
    return {
        "title": " · ".join((names.plugin(found.dataset), found.attack, names.plugin(found.defence))),
        "columns": [names.plugin_parts(victim) for victim in found.victims],
        "rows": [
            (parts, [None if cell is None else _shown(cell, index[id(cell)], 1) for cell in cells])
            for parts, cells in lines
        ],
    }


def _choices(board: Board) -> list[tuple[str, list[str]]]:
    """What the table of all cells can be narrowed to, by column."""
    cells, names = board.cells, board.names
    return [
        ("Data set", list(dict.fromkeys(cell.dataset for cell in cells))),
        ("Victim", list(dict.fromkeys(cell.victim for cell in cells))),
        ("Attack", list(dict.fromkeys(names.attack(cell.attack) for cell in cells))),
        ("Threat model", list(dict.fromkeys(threat_words(cell.threat) for cell in cells))),
        ("Defence", list(dict.fromkeys(names.plugin(cell.defence) for cell in cells))),
    ]


def _embedded(data: Any) -> Markup:
    """JSON that may stand inside a script element: no tag, comment or line separator can end or open anything."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _tiles(board: Board) -> list[tuple[str, str]]:
    """(number, what it counts) for the head of the page."""
    rows = {row for table in board.tables for row in table.rows}
    columns = {base for table in board.tables for base in table.bases}
    covered = board.counts.get(State.SCORED, 0)
    datasets, victims = {table.dataset for table in board.tables}, {table.victim for table in board.tables}
    counts = [(datasets, "data set"), (victims, "victim"), (rows, "attack"), (columns, "defence")]
    return [
        (f"{covered:,} / {board.expected:,}", "cells scored"),
        *((f"{board.counts[state]:,}", state.value) for state in wording.SYMBOLS if board.counts.get(state)),
        *((str(len(found)), noun if len(found) == 1 else f"{noun}s") for found, noun in counts),
        (str(board.repetitions), "repetitions" if board.repetitions != 1 else "repetition"),
    ]


def _grid(table: Table, index: Mapping[int, int]) -> dict[str, Any]:
    """One heat map, as the template draws it."""
    shown = applicable(table)
    return {
        "title": wording.title(table),
        "columns": [(table.names.plugin_parts(column.base), column.knowledge) for column in shown.columns],
        "rows": [
            (table.names.attack_parts(row), list(_shown_row(table, row, shown.columns, index))) for row in shown.rows
        ],
        "worst": list(_worst_row(table, shown.columns)),
        "omitted": shown.omitted,
    }


def _shown_row(table: Table, row: str, columns: tuple[Column, ...], index: Mapping[int, int]) -> Iterator[Shown | None]:
    """The cells of a row; what is common to both columns of a guard spans them."""
    for i, column in enumerate(columns):
        cell = table.cells.get((row, column.label))
        if cell is None:
            yield None
        elif not table.repeats(row, column):
            wide = 1 + sum(table.repeats(row, following) for following in columns[i + 1 : i + 2])
            yield _shown(cell, index[id(cell)], wide)


def _shown(cell: TableCell, index: int, wide: int) -> Shown:
    lines = []
    for measure in cell.measures:
        number, _, rest = wording.measure(measure).removeprefix(f"{measure.short} ").partition(" ")
        lines.append((measure.short, number, rest))
    states = [state for state in State if cell.counts[state]]
    state = State.SCORED if cell.scored else states[0]
    side, strength = heat(_defended(cell)) if cell.scored else ("", 0)
    return Shown(index, cell, tuple(lines), side, strength, state.value, wide)


def _defended(cell: TableCell) -> float | None:
    """How well the defender did, in [0, 1]: the least of accuracies and of 1 - attack success rates. Nothing where
    distortion is the result."""
    if cell.threat.get("budget") == "minimal":
        return None
    shares = [
        1 - measure.statistic.mean if measure.metric == ASR else measure.statistic.mean
        for measure in cell.measures
        if measure.metric in (CLEAN, ROBUST, ASR)
    ]
    return min(shares, default=None)


def _worst_row(table: Table, columns: tuple[Column, ...]) -> Iterator[dict[str, Any]]:
    """A guard's two columns share one worst case."""
    for base in dict.fromkeys(column.base for column in columns):
        own = [column for column in columns if column.base == base]
        worst = table.worst.get(own[0].label)
        number, _, rest = wording.spread(worst.statistic, True).partition(" ") if worst is not None else ("", "", "")
        side, strength = heat(worst.statistic.mean if worst is not None else None)
        note = wording.attacks_text(worst) if worst is not None else ""
        yield {"wide": len(own), "number": number, "rest": rest, "side": side, "strength": strength, "note": note}
