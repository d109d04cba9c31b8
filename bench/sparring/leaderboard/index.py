"""One entry for each board of a folder: what it is about, how complete it is, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import jinja2
from markupsafe import Markup

from sparring.leaderboard import wording
from sparring.leaderboard.markdown_text import code, escaped
from sparring.leaderboard.summary import summary
from sparring.leaderboard.table import Board, State

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
        size: "2 data sets, 4 victims, 7 attacks, 1 defence, 3 repetitions".
        more: answers that are left to the board.
    """

    path: str
    title: str
    description: str
    coverage: str
    complete: bool
    size: str
    answers: tuple[Answer, ...]
    more: int


def index_entry(path: str, board: Board) -> IndexEntry:
    """What the index says of `board`."""
    answers = list(_answers(board))
    return IndexEntry(
        path=path,
        title=board.title,
        description=board.description,
        coverage=wording.coverage(board),
        complete=not any(board.counts.get(state) for state in (State.FAILED, State.TIMED_OUT, State.NOT_RUN)),
        size=wording.size(board),
        answers=tuple(answers[:ANSWERS]),
        more=max(0, len(answers) - ANSWERS),
    )


def _answers(board: Board) -> Iterator[Answer]:
    found, names = summary(board), board.names
    datasets = len({row.dataset for row in found.rows})
    for row in found.rows:
        place = wording.place(row.dataset, row.victim, datasets, names)
        if len(found.defences) > 1:
            yield Answer("holds best at inference", place, *wording.verdict(row.robust, names.defence))
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
        if told := [answer for answer in entry.answers if answer.best]:
            lines = [f"- {escaped(a.place)}, {a.question}: **{escaped(a.best)}**{escaped(a.how)}" for a in told]
            more = [f"- and {entry.more} more"] if entry.more else []
            blocks.append("\n".join(lines + more))
    return "\n\n".join(blocks) + "\n"


def page_index(entries: Sequence[IndexEntry]) -> str:
    """index.html of the folder: self-contained, without scripts."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["printable"] = wording.printable
    templates = files("sparring.leaderboard") / "templates"
    style = Markup((templates / "page.css").read_text(encoding="utf-8"))
    template = environment.from_string((templates / "index.html.j2").read_text(encoding="utf-8"))
    return template.render(entries=entries, style=style)
