"""The review of what changed, in Markdown: the text of a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from sparring.leaderboard import wording
from sparring.leaderboard.difference import Change, Difference, PictureDifference, Place
from sparring.leaderboard.labels import Names
from sparring.leaderboard.markdown_text import code, escaped, row_of
from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import Board

LISTED: Final = 200
"""Lines of a table; the rest is counted."""

HEADINGS: Final = {
    Change.WORSE: "Worse for the defender",
    Change.LOST: "Lost",
    Change.BETTER: "Better for the defender",
    Change.NEW: "New",
    Change.NOISE: "Within noise",
}


def markdown_difference(
    title: str,
    before: Board,
    after: Board,
    found: Sequence[Difference],
    pictures: Sequence[PictureDifference] = (),
) -> str:
    """A table for each kind of change, the worst first, and one of the pictures that changed; numbers that stayed are
    counted."""
    counts = Counter(line.change for line in found)
    told = [f"{counts[change]} {change.value}" for change in Change if counts[change]]
    blocks = [f"## {escaped(title)}", f"{', '.join(told) or 'no numbers'}."]
    for change, heading in HEADINGS.items():
        lines = [line for line in found if line.change is change]
        if lines:
            names = (before if change is Change.LOST else after).names
            blocks += [f"### {heading}", "\n".join(_table(after, names, lines))]
    if pictures:
        blocks += ["### Pictures", "\n".join(_picture_table(before, after, pictures))]
    return "\n\n".join(blocks) + "\n"


def _table(board: Board, names: Names, lines: Sequence[Difference]) -> Iterator[str]:
    yield row_of(["data set", "victim", "attack", "defence", "", "before", "after", "change"])
    yield row_of([":--"] * 5 + ["--:"] * 3)
    for line in lines[:LISTED]:
        percentage = wording.is_percentage(board, line.metric)
        numbers = (_number(line.before, percentage), _number(line.after, percentage), _shift(line, percentage))
        yield row_of([*_places(names, line.place), escaped(line.metric), *numbers])
    if len(lines) > LISTED:
        yield row_of([f"and {len(lines) - LISTED} more", *[""] * 7])


def _picture_table(before: Board, after: Board, lines: Sequence[PictureDifference]) -> Iterator[str]:
    yield row_of(["data set", "victim", "attack", "defence", "repetition", "picture"])
    yield row_of([":--"] * 4 + ["--:", ":--"])
    for line in lines[:LISTED]:
        names = (before if line.what == "gone" else after).names
        yield row_of([*_places(names, line.place), str(line.repetition), line.what])
    if len(lines) > LISTED:
        yield row_of([f"and {len(lines) - LISTED} more", *[""] * 5])


def _places(names: Names, place: Place) -> Iterator[str]:
    dataset, victim, attack, defence = place
    yield from map(code, (names.plugin(dataset), names.plugin(victim), names.attack(attack), names.plugin(defence)))


def _number(statistic: Statistic | None, percentage: bool) -> str:
    return "–" if statistic is None else wording.spread(statistic, percentage)


def _shift(line: Difference, percentage: bool) -> str:
    """ "−4.2 (−6.0 to −2.4)": points, and the 95 % interval."""
    if line.before is None or line.after is None:
        return ""
    show = wording.percent if percentage else wording.plain
    interval = "" if line.interval is None else f" ({show(line.interval[0])} to {show(line.interval[1])})"
    sign = "+" if line.shift > 0 else ""
    return f"{sign}{show(line.shift)}{interval}".replace("-", "−")
