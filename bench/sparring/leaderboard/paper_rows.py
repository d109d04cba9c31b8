"""A paper's numbers beside ours, as texts: the same in every rendering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sparring.leaderboard import wording
from sparring.leaderboard.labels import Names
from sparring.leaderboard.papers import Agreement, Comparison, PaperComparison

HEADINGS: Final = ("data set", "victim", "attack", "defence", "paper", "ours", "agrees?")

MEANING: Final = (
    "Percent, or the metric's unit; mean ± standard deviation over repetitions (n). They agree where mean ± deviation "
    "of both meet or percentages are within half a point; of trials, where the paper's number lies in their 95 % "
    "Wilson interval."
)


class PaperRow(NamedTuple):
    """One line: what it is about, the paper's number, ours, and whether they agree."""

    about: tuple[str, str, str, str]
    paper: str
    ours: str
    agrees: str
    state: Agreement


def heading(found: PaperComparison) -> str:
    """ "Chaudhury 2020, table 1: 1 - clean-accuracy"."""
    return f"{found.table.source}: {'1 - ' if found.table.error else ''}{found.table.metric}"


def paper_rows(found: PaperComparison, names: Names) -> Iterator[PaperRow]:
    for line in found.lines:
        yield PaperRow(_about(line, names), _paper(line), _ours(line), _agrees(line), line.agreement)


def _about(line: Comparison, names: Names) -> tuple[str, str, str, str]:
    value, cell = line.value, line.cell
    if cell is None:
        return value.dataset, value.victim, value.name or value.attack, value.defence
    return names.plugin(cell.dataset), names.plugin(cell.victim), names.attack(cell.attack), names.plugin(cell.defence)


def _paper(line: Comparison) -> str:
    value = line.value
    number = f"{value.value:g}" + ("" if value.std is None else f" ± {value.std:g}")
    return f"{number} ({value.name})" if value.name and line.cell is not None else number


def _ours(line: Comparison) -> str:
    if line.ours is None:
        return "–"
    if line.trials is not None:
        return f"{line.ours.mean:.1f} ({wording.trials(line.trials)})"
    if not line.percentage:
        return f"{wording.spread(line.ours, False)} ({line.ours.n})"
    spread = "" if line.ours.std is None else f" ± {line.ours.std:.1f}"
    return f"{line.ours.mean:.1f}{spread} ({line.ours.n})"


def _agrees(line: Comparison) -> str:
    if line.difference is None or line.agreement in (Agreement.YES, Agreement.OPEN):
        told = line.agreement.value
    else:
        size = f"{abs(line.difference):.1f} points" if line.percentage else wording.plain(abs(line.difference))
        told = f"{line.agreement.value} by {size}"
    return f"{told}; {line.value.note}" if line.value.note else told
