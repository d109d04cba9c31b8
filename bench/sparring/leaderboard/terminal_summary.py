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
"""Of a victim's heading, before it breaks at a hyphen."""

Fill = Callable[[SummaryRow, str], Text]


def print_summary(board: Board, console: Console) -> None:
    """The worst case of every defence on every victim, and what holds against attacks on the training set."""
    found = summary(board)
    if found.evades:
        columns = _columns(found, found.evasions, [wording.evasions_text(row, found.attacks) for row in found.evasions])
        _print(
            console, "worst case over all attacks at inference", columns, _defences(found, found.by_robustness), _robust
        )
        for row in (row.compared for row in found.rows):
            best, how = (wording.printable(text) for text in wording.verdict(row.robust, found.names.defence))
            if best:
                console.print(Text(f"{wording.printable(found.place(row))}: ").append(best, style="bold").append(how))
        console.print()
    if found.poisons:
        counts = [wording.poisons_text(row) for row in found.trainings]
        title = "attacks on the training set: least clean accuracy (CA), highest success rate (ASR)"
        columns = _columns(found, found.trainings, counts)
        _print(console, title, columns, _defences(found, found.by_cleanliness), _poisoned)
    if found.harms:
        _print_harms(found, console)


def _print_harms(found: Summary, console: Console) -> None:
    """In words: the numbers stand in the tables above."""
    console.print(Text("SUMMARY", style="bold").append(" · which poison does most harm without a defence"))
    for row in found.rows:
        worst, how = (wording.printable(text) for text in wording.verdict(row.harm, found.names.attack))
        if worst:
            console.print(Text(f"{wording.printable(found.place(row))}: ").append(worst, style="bold").append(how))
    console.print()


def _columns(found: Summary, rows: Sequence[SummaryRow], abouts: Sequence[str]) -> list[tuple[SummaryRow, Text]]:
    return [
        (row, _heading(wording.printable(found.place(row)), about)) for row, about in zip(rows, abouts, strict=True)
    ]


def _heading(place: str, about: str) -> Text:
    made = Text("\n".join(textwrap.wrap(place, WIDEST)))
    return made.append("\n" + "\n".join(textwrap.wrap(about, WIDEST)), style="dim")


def _defences(found: Summary, ordered: Sequence[str]) -> list[tuple[str, str]]:
    return [(defence, wording.printable(found.names.plugin(defence))) for defence in ordered]


def _print(
    console: Console,
    title: str,
    columns: Sequence[tuple[SummaryRow, Text]],
    defences: Sequence[tuple[str, str]],
    fill: Fill,
) -> None:
    """A line for each of `defences` (label, shown), best first; as many tables as the width of the console asks for."""
    console.print(Text("SUMMARY", style="bold").append(f" · {title}", style="not bold"), end="\n\n")
    labels = [defence for defence, _ in defences]
    widths = [_width(heading, [fill(row, label) for label in labels]) for row, heading in columns]
    start = min(LABEL_WIDTH, max(len(shown) for _, shown in defences)) + 2
    for page in _pages(widths, start, console.width):
        made = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        made.add_column("defence", max_width=LABEL_WIDTH, overflow="fold")
        for column in page:
            made.add_column(columns[column][1], justify="right", width=widths[column], overflow="fold")
        for label, shown in defences:
            made.add_row(Text(shown), *(fill(columns[column][0], label) for column in page))
        console.print(made)
        console.print()


def _robust(row: SummaryRow, defence: str) -> Text:
    made = Text()
    if (score := row.robust.scores.get(defence)) is not None:
        made.append(wording.spread(score.statistic, True), style="bold" if row.robust.won_by(defence) else "")
        made.append(f"\n{score.remark}" if score.remark else "", style="yellow")
    if (clean := row.clean_below(defence)) is not None:
        made.append(f"\nclean {wording.percent(clean.mean)}", style="dim")
    return made or Text("–", style="dim")


def _poisoned(row: SummaryRow, defence: str) -> Text:
    made = Text()
    for short, judged in (("CA", row.poisoned), ("ASR", row.asr)):
        if (score := judged.scores.get(defence)) is not None:
            made.append("\n" if made else "")
            made.append(f"{short} ", style="dim")
            made.append(wording.percent(score.statistic.mean), style="bold" if judged.won_by(defence) else "")
            made.append(f" {score.remark}" if score.remark else "", style="yellow")
    return made or Text("–", style="dim")


def _width(heading: Text, cells: Sequence[Text]) -> int:
    return max(len(line) for text in (heading, *cells) for line in text.plain.split("\n"))


def _pages(widths: Sequence[int], start: int, width: int) -> Iterator[list[int]]:
    """Columns by their number, as many on each page as fit beside `start`."""
    page: list[int] = []
    used = start
    for column, needed in enumerate(widths):
        if page and used + needed > width:
            yield page
            page, used = [], start
        page.append(column)
        used += needed + 2
    yield page
