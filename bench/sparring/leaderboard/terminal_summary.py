"""Which defence holds best, at the end of what a terminal shows."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sparring.leaderboard import wording
from sparring.leaderboard.labels import split_label
from sparring.leaderboard.summary import Contest, Summary, SummaryRow, summary
from sparring.leaderboard.table import Board

WIDEST: Final = 13
"""Of a defence's column."""

Fill = Callable[[SummaryRow, str], Text]


def print_summary(board: Board, console: Console) -> None:
    """The worst case of every defence on every victim, and what holds against attacks on the training set."""
    found = summary(board)
    if found.evades:
        _print(found, console, "Worst case over all attacks at inference", _robust, lambda row: row.robust)
    if found.poisons:
        _print(found, console, "Attacks on the training set: worst clean accuracy, worst ASR", _poisoned, None)


def _print(
    found: Summary, console: Console, title: str, fill: Fill, judged: Callable[[SummaryRow], Contest] | None
) -> None:
    console.print(Text(f"SUMMARY · {title}", style="bold"))
    for defences in _pages(found, fill, console.width):
        console.print(_rich(found, defences, fill, attacked=judged is None))
    if judged is None:
        return
    for row, place in zip(found.rows, _places(found), strict=True):
        if said := wording.verdict(judged(row)):
            line = Text(f"{place}: ", style="bold").append(wording.printable(said), style="not bold")
            console.print(line)
    console.print()


def _places(found: Summary) -> list[str]:
    datasets = len({row.dataset for row in found.rows})
    return [wording.printable(wording.place(row.dataset, row.victim, datasets)) for row in found.rows]


def _rich(found: Summary, defences: Sequence[str], fill: Fill, attacked: bool) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("victim", max_width=30, overflow="fold")
    for defence in defences:
        made.add_column(_heading(defence), justify="right", width=_width(found, defence, fill), overflow="fold")
    for row, place in zip(found.rows, _places(found), strict=True):
        about = wording.counted(row.poisons + row.triggers if attacked else row.attacks, "attack")
        label = Text(place).append(f"\n{about}", style="dim")
        made.add_row(label, *(fill(row, defence) for defence in defences))
    return made


def _heading(defence: str) -> Text:
    name, params = split_label(wording.printable(defence))
    lines = textwrap.wrap(name, WIDEST) + textwrap.wrap(" ".join(params), WIDEST)
    return Text("\n".join(lines))


def _robust(row: SummaryRow, defence: str) -> Text:
    made = Text()
    if (score := row.robust.scores.get(defence)) is not None:
        made.append(wording.spread(score.statistic, True), style="bold" if defence == row.robust.best else "")
        made.append(f"\n{score.note}" if score.note else "", style="yellow")
    if (clean := row.clean.get(defence)) is not None:
        made.append(f"\nclean {wording.percent(clean.mean)}", style="dim")
    return made or Text("–", style="dim")


def _poisoned(row: SummaryRow, defence: str) -> Text:
    made = Text()
    for short, judged in (("CA", row.poisoned), ("ASR", row.asr)):
        if (score := judged.scores.get(defence)) is not None:
            made.append("\n" if made else "")
            made.append(f"{short} ", style="dim")
            made.append(wording.percent(score.statistic.mean), style="bold" if defence == judged.best else "")
            made.append(f" {score.note}" if score.note else "", style="yellow")
    return made or Text("–", style="dim")


def _width(found: Summary, defence: str, fill: Fill) -> int:
    texts = [_heading(defence), *(fill(row, defence) for row in found.rows)]
    return max(len(line) for text in texts for line in text.plain.split("\n"))


def _pages(found: Summary, fill: Fill, width: int) -> Iterator[list[str]]:
    start = min(30, max(len(place) for place in [*_places(found), "10 attacks"])) + 2
    page: list[str] = []
    used = start
    for defence in found.defences:
        needed = min(width - start, _width(found, defence, fill) + 2)
        if page and used + needed > width:
            yield page
            page, used = [], start
        page.append(defence)
        used += needed
    yield page
