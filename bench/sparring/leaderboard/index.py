"""One entry for each board of a folder: what it is about, how complete it is, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import jinja2
from markupsafe import Markup

from sparring.leaderboard import wording
from sparring.leaderboard.headline import Sentence, by_question
from sparring.leaderboard.markdown_text import code, escaped
from sparring.leaderboard.summary import summary
from sparring.leaderboard.table import Board, State
from sparring.leaderboard.wrapping import wrappable

ANSWERS: Final = 12
"""Lines of answers of one board; the rest stand on the board."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One line: to which question, about which victim, who, and how sure that is."""

    question: str
    place: str
    best: str
    how: str


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A board of the index.

    Attributes:
        path: of its folder, from the index, with slashes.
        done: share of the cells that have a number or a reason, in percent, rounded down.
        size: "2 data sets, 4 victims, 7 attacks, 1 defence, 3 repetitions".
        short: what it says, in sentences, by what they answer.
        warnings: identifiers, and how many cells have each.
        made: "on AMD EPYC 7763, code of 2026-11-21".
        answers: by victim.
        more: answers that are left to the board.
    """

    path: str
    title: str
    description: str
    coverage: str
    done: int
    size: str
    short: tuple[tuple[str, tuple[Sentence, ...]], ...]
    warnings: tuple[tuple[str, int], ...]
    made: str
    answers: tuple[Answer, ...]
    more: int


def index_entry(path: str, board: Board, dates: Sequence[str] = ()) -> IndexEntry:
    """What the index says of `board`.

    Args:
        dates: of the code that it was computed with, in order.
    """
    answers = [answer for answer in _answers(board) if answer.best]
    answered = board.counts.get(State.SCORED, 0) + board.counts.get(State.NOT_APPLICABLE, 0)
    return IndexEntry(
        path=path,
        title=board.title,
        description=board.description,
        coverage=wording.coverage(board),
        done=100 * answered // max(1, board.expected),
        size=wording.size(board),
        short=tuple((about, tuple(sentences)) for about, sentences in by_question(board)),
        warnings=tuple((identifier, len(cells)) for identifier, _, cells in wording.warned_cells(board)),
        made=_made(board, dates),
        answers=tuple(answers[:ANSWERS]),
        more=max(0, len(answers) - ANSWERS),
    )


def _made(board: Board, dates: Sequence[str]) -> str:
    machines = sorted({made.cpu for made in board.provenances})
    told = f"on {', '.join(machines)}" if machines else ""
    if dates:
        told += f", code of {' to '.join(dict.fromkeys((dates[0], dates[-1])))}"
    return told


def _answers(board: Board) -> Iterator[Answer]:
    found, names = summary(board), board.names
    for row in found.rows:
        place = found.place(row)
        if len(found.defences) > 1:
            yield Answer("holds best at inference", place, *wording.verdict(row.compared.robust, names.defence))
        if found.harms:
            yield Answer("poison that harms most", place, *wording.verdict(row.harm, names.attack))


def markdown_index(entries: Sequence[IndexEntry]) -> str:
    """README.md of the folder."""
    blocks = ["# Leaderboards", "Made by `sparring leaderboard index` from the boards' records."]
    for entry in entries:
        blocks += [
            f"## [{escaped(entry.title)}]({entry.path}/README.md)",
            *([escaped(entry.description)] if entry.description else []),
            f"**{escaped(entry.coverage)}**: {entry.size}. [Page]({entry.path}/index.html), "
            f"[numbers]({entry.path}/table.csv), {code(f'sparring run {entry.path}')}.",
        ]
        for about, sentences in entry.short:
            told = " ".join(f"**{escaped(s.best)}** {escaped(s.text)}".removeprefix("**** ") for s in sentences)
            blocks.append(f"{about}: {told}")
        counted = ", ".join(f"**{escaped(identifier)}** ({_cells(count)})" for identifier, count in entry.warnings)
        blocks.append(f"Warnings: {counted or 'none'}. Computed {escaped(entry.made)}.")
        if entry.answers:
            lines = [
                f"- {escaped(a.place)}, {a.question}: **{escaped(a.best)}**{escaped(a.how)}" for a in entry.answers
            ]
            more = [f"- and {entry.more} more"] if entry.more else []
            blocks.append("\n".join(lines + more))
    return "\n\n".join(blocks) + "\n"


def _cells(count: int) -> str:
    return wording.counted(count, "cell")


def page_index(entries: Sequence[IndexEntry]) -> str:
    """index.html of the folder: self-contained, without scripts."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"printable": wording.printable, "wrappable": wrappable, "cells": _cells}
    templates = files("sparring.leaderboard") / "templates"
    style = Markup((templates / "page.css").read_text(encoding="utf-8"))
    template = environment.from_string((templates / "index.html.j2").read_text(encoding="utf-8"))
    return template.render(entries=entries, style=style)
