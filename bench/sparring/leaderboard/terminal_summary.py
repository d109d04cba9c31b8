"""Which defence holds best and which poison does most harm, at the end of what a terminal shows."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sparring.leaderboard import wording
from sparring.leaderboard.summary import Summary, SummaryRow, summary
from sparring.leaderboard.table import Board

LABEL_WIDTH: Final = 30
WIDEST: Final = 13
"""Of a defence's heading, before it breaks at a hyphen."""

Fill = Callable[[SummaryRow, str], Text]


def print_summary(board: Board, console: Console) -> None:
    """The worst case of every defence on every victim, and what holds against attacks on the training set."""
    found = summary(board)
    if found.evades:
        rows = found.evasions
        _print(found, rows, console, "worst case over all attacks at inference", _robust, _robust_labels(found))
        for row, place in zip(rows, _places(found, rows), strict=True):
            best, how = (wording.printable(text) for text in wording.verdict(row.robust, found.names.defence))
            if best:
                console.print(Text(f"{place}: ").append(best, style="bold").append(how))
        console.print()
    if found.poisons:
        title = "attacks on the training set: least clean accuracy (CA), highest success rate (ASR)"
        _print(found, found.rows, console, title, _poisoned, _poisoned_labels(found))
    if found.harms:
        _print_harms(found, console)


def _print_harms(found: Summary, console: Console) -> None:
    """In words: the numbers stand in the tables above."""
    console.print(Text("SUMMARY", style="bold").append(" · which poison does most harm without a defence"))
    for row, place in zip(found.rows, _places(found, found.rows), strict=True):
        worst, how = (wording.printable(text) for text in wording.verdict(row.harm, found.names.attack))
        if worst:
            console.print(Text(f"{place}: ").append(worst, style="bold").append(how))
    console.print()


def _print(
    found: Summary, rows: Sequence[SummaryRow], console: Console, title: str, fill: Fill, labels: Sequence[Text]
) -> None:
    console.print(Text("SUMMARY", style="bold").append(f" · {title}", style="not bold"), end="\n\n")
    for defences in _pages(found, rows, fill, labels, console.width):
        console.print(_rich(found, rows, defences, fill, labels))
        console.print()


def _places(found: Summary, rows: Sequence[SummaryRow]) -> list[str]:
    datasets = len({row.dataset for row in found.rows})
    return [wording.printable(wording.place(row.dataset, row.victim, datasets, found.names)) for row in rows]


def _rich(
    found: Summary, rows: Sequence[SummaryRow], defences: Sequence[str], fill: Fill, labels: Sequence[Text]
) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    made.add_column("victim", max_width=LABEL_WIDTH, overflow="fold")
    for defence in defences:
        width = _width(found, rows, defence, fill)
        made.add_column(_heading(found, defence), justify="right", width=width, overflow="fold")
    for row, label in zip(rows, labels, strict=True):
        made.add_row(label, *(fill(row, defence) for defence in defences))
    return made


def _robust_labels(found: Summary) -> list[Text]:
    return _labels(found, found.evasions, [wording.evasions_text(row, found.attacks) for row in found.evasions])


def _poisoned_labels(found: Summary) -> list[Text]:
    return _labels(found, found.rows, [wording.counted(row.poisons + row.triggers, "attack") for row in found.rows])


def _labels(found: Summary, rows: Sequence[SummaryRow], about: Sequence[str]) -> list[Text]:
    places = _places(found, rows)
    return [Text(place).append(f"\n{text}", style="dim") for place, text in zip(places, about, strict=True)]


def _heading(found: Summary, defence: str) -> Text:
    name, params = found.names.plugin_parts(wording.printable(defence))
    lines = textwrap.wrap(name, WIDEST) + textwrap.wrap(" ".join(params), WIDEST)
    return Text("\n".join(lines))


def _robust(row: SummaryRow, defence: str) -> Text:
    made = Text()
    if (score := row.robust.scores.get(defence)) is not None:
        made.append(wording.spread(score.statistic, True), style="bold" if defence == row.robust.best else "")
        made.append(f"\n{score.remark}" if score.remark else "", style="yellow")
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
            made.append(f" {score.remark}" if score.remark else "", style="yellow")
    return made or Text("–", style="dim")


def _width(found: Summary, rows: Sequence[SummaryRow], defence: str, fill: Fill) -> int:
    texts = [_heading(found, defence), *(fill(row, defence) for row in rows)]
    return max(len(line) for text in texts for line in text.plain.split("\n"))


def _pages(
    found: Summary, rows: Sequence[SummaryRow], fill: Fill, labels: Sequence[Text], width: int
) -> Iterator[list[str]]:
    start = min(LABEL_WIDTH, max(len(line) for label in labels for line in label.plain.split("\n"))) + 2
    page: list[str] = []
    used = start
    for defence in found.defences:
        needed = _width(found, rows, defence, fill) + 2
        if page and used + needed - 2 > width:
            yield page
            page, used = [], start
        page.append(defence)
        used += needed
    yield page
