"""Numbers and labels as people read them; the same in every rendering, independent of locale."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from sparring.leaderboard.aggregate import ASR, CLEAN, ROBUST
from sparring.leaderboard.contest import Contest
from sparring.leaderboard.statistic import Statistic, Trials
from sparring.leaderboard.summary import SummaryRow
from sparring.leaderboard.table import Board, Measure, State, Table, TableCell, WorstCase
from sparring.record import Provenance

SYMBOLS: Final = {State.NOT_APPLICABLE: "–", State.FAILED: "✗", State.TIMED_OUT: "◔", State.NOT_RUN: "·"}
"""What stands in a table where there is no number."""

SAME: Final = "″"
"""What stands in a guard's second column where the attack is the same as in the first."""

FRACTIONS: Final = frozenset({CLEAN, ROBUST, ASR})
"""Shown as percentages whatever is known of the metric."""


def printable(text: str) -> str:
    """`text` without what could steer a terminal or reverse its direction: control and format characters become �."""
    return "".join(c if c.isprintable() else "�" for c in text)


def percent(fraction: float) -> str:
    """0.9714 as "97.1"; never "-0.0"."""
    return f"{100 * fraction + 0.0:.1f}".replace("-0.0", "0.0")


def plain(value: float, scale: float | None = None) -> str:
    """Four significant digits of `scale` (default: of `value` itself), never an exponent for common sizes."""
    size = float(f"{abs(value if scale is None else scale):.4g}")  # 0.09999999 is 0.1000
    if not 1e-4 <= size < 1e15:
        return f"{value + 0.0:.3g}"
    return f"{value + 0.0:.{max(0, 3 - math.floor(math.log10(size)))}f}"


def is_percentage(board: Board, metric: str) -> bool:
    """Whether values of `metric` are fractions that are shown times 100."""
    return metric in FRACTIONS or (metric in board.metrics and board.metrics[metric].unit == "%")


def spread(statistic: Statistic, percentage: bool) -> str:
    """ "97.1 ± 0.3", and "97.1" for a single repetition."""
    mean, std = statistic.mean, statistic.std
    shown = percent(mean) if percentage else plain(mean)
    if std is None:
        return shown
    return f"{shown} ± {percent(std) if percentage else plain(std, mean or std)}"


def trials(found: Trials) -> str:
    """ "19/60, 21.3–44.2": successes of trials, and the 95 % interval in percent."""
    low, high = found.interval
    return f"{found.succeeded}/{found.all}, {percent(low)}–{percent(high)}"


def measure(shown: Measure) -> str:
    """One number of a table's cell."""
    if shown.trials is not None:
        text = f"{percent(shown.statistic.mean)} ({trials(shown.trials)})"
    else:
        text = spread(shown.statistic, shown.metric in FRACTIONS)
    return f"{shown.short} {text}" if shown.short else text


def remark(cell: TableCell) -> str:
    """What is missing: " (2 of 3)" for a partly scored cell, "" for a whole one."""
    return "" if cell.scored == cell.expected else f" ({cell.scored} of {cell.expected})"


def symbols(cell: TableCell) -> str:
    """What stands for a cell without numbers."""
    return "".join(SYMBOLS[state] for state in State if state in SYMBOLS and cell.counts[state])


def cell_text(cell: TableCell) -> str:
    """A table's cell as one line of text."""
    if not cell.scored:
        return symbols(cell)
    numbers = " / ".join(measure(shown) for shown in cell.measures) or "scored"
    return numbers + remark(cell)


def worst_text(worst: WorstCase) -> str:
    """The worst case as one line; says when not every attack entered."""
    missing = f" ({attacks_text(worst)})" if worst.fewest < worst.eligible else ""
    return spread(worst.statistic, True) + missing


def attacks_text(worst: WorstCase) -> str:
    """ "7 attacks, oblivious and adaptive"; "5 of 7 attacks" where some are missing. A guard's attack counts once."""
    if worst.fewest < worst.eligible:
        return f"{worst.fewest} of {counted(worst.eligible, 'attack')}"
    return ", ".join([counted(worst.eligible, "attack"), *([" and ".join(worst.ways)] if worst.ways else [])])


def verdict(found: Contest, called: Callable[[str], str]) -> tuple[str, str]:
    """("adversarial-training", ", 7.5 points (4.5 to 10.5) before feature-squeezing"), or that the two cannot be told
    apart: percentage points, and in brackets the 95 % interval. ("", "") where there is nobody to compare with.

    Args:
        called: label -> what a sentence calls it.
    """
    if found.best is None or found.lead is None:
        return "", ""
    best, lead = called(found.best), found.lead
    following, points = called(lead.next), f"{percent(lead.mean)} points"
    if abs(lead.mean) < 1e-12:
        return best, f", level with {following}"
    if lead.interval is None:
        return best, f", {points} before {following} (no interval: one repetition)"
    low, high = (percent(min(1.0, max(-1.0, end))).replace("-", "−") for end in lead.interval)
    if lead.sure:
        return best, f", {points} ({low} to {high}) before {following}"
    return best, f", not told apart from {following}: {points} ({low} to {high})"


def rank(found: Contest, label: str) -> str:
    """ " #2"; "" where no order is claimed."""
    return f" #{found.ranks[label]}" if label in found.ranks else ""


def title(table: Table) -> str:
    """What stands above a table."""
    return f"{table.names.plugin(table.dataset)} · {table.names.plugin(table.victim)}"


def evasions_text(row: SummaryRow, most: int) -> str:
    """ "7 attacks"; "2 of 7 attacks" for a victim that others faced more of: its worst case is not theirs. Of a row
    over common attacks, "the 6 attacks that most defences met"."""
    if row.is_common:
        return f"the {counted(row.attacks, 'attack').removeprefix('1 ')} that most defences met"
    return counted(row.attacks, "attack") if row.attacks == most else f"{row.attacks} of {counted(most, 'attack')}"


def poisons_text(row: SummaryRow) -> str:
    """ "3 poisons, 1 backdoor"; of a row over common attacks, "the 6 backdoors that most defences met"."""
    kinds = (
        (row.poisons, "poison"),
        (row.triggers - row.targeted, "backdoor"),
        (row.targeted, "targeted poison"),
    )
    told = ", ".join(counted(n, noun) for n, noun in kinds if n)
    return f"the {told} that most defences met" if row.is_common else told


def coverage(board: Board) -> str:
    """ "280 of 300 cells scored, 12 not applicable, 8 failed"."""
    others = [f"{board.counts[state]} {state.value}" for state in State if state in SYMBOLS and board.counts[state]]
    return ", ".join([f"{board.counts[State.SCORED]} of {board.expected} cells scored", *others])


def size(board: Board) -> str:
    """ "2 data sets, 4 victims, 7 attacks, 1 defence, 3 repetitions"."""
    counts = (
        ({table.dataset for table in board.tables}, "data set"),
        ({table.victim for table in board.tables}, "victim"),
        ({row for table in board.tables for row in table.rows}, "attack"),
        ({base for table in board.tables for base in table.bases}, "defence"),
    )
    product = [counted(len(found), noun) for found, noun in counts]
    return ", ".join([*product, counted(board.repetitions, "repetition")])


def counted(things: int, noun: str) -> str:
    """ "1 attack", "2 attacks"."""
    return f"{things} {noun}" if things == 1 else f"{things} {noun}s"


def facts(provenances: Sequence[Provenance]) -> list[tuple[str, str]]:
    """Provenance for people: each fact once, with every value it took."""
    names = {
        "sparring": [p.sparring for p in provenances],
        "commit": [p.commit for p in provenances if p.commit],
        "python": [p.python for p in provenances],
        "platform": [p.platform for p in provenances],
        "processor": [p.cpu for p in provenances],
        "device": [p.device for p in provenances],
        "threads": [str(p.threads) for p in provenances],
        "root seed": [str(p.root_seed) for p in provenances],
        "suite": [p.suite_digest[:12] for p in provenances],
    }
    versions: dict[str, list[str]] = defaultdict(list)
    for provenance in provenances:
        for library, version in provenance.versions.items():
            versions[library].append(version)
    found = names | {library: versions[library] for library in sorted(versions)}
    return [(name, ", ".join(sorted(set(values)))) for name, values in found.items() if values]


def silent_cells(board: Board) -> list[tuple[State, str, list[TableCell], int]]:
    """Why cells have no number: (state, what was said, table cells, how many repetitions), the most frequent first
    within a state."""
    found: dict[tuple[State, str], dict[int, TableCell]] = defaultdict(dict)
    times: dict[tuple[State, str], int] = defaultdict(int)
    for cell in board.cells:
        for entry in cell.entries:
            for said in entry.said:
                found[entry.state, said][id(cell)] = cell
                times[entry.state, said] += 1
    order = list(State)
    ranked = sorted(found, key=lambda reason: (order.index(reason[0]), -times[reason], reason[1]))
    return [(state, said, list(found[state, said].values()), times[state, said]) for state, said in ranked]


def warned_cells(board: Board) -> list[tuple[str, str, list[TableCell]]]:
    """Automatic warnings by identifier: (id, an example of the message, table cells), most frequent first."""
    messages: dict[str, str] = {}
    found: dict[str, dict[int, TableCell]] = defaultdict(dict)
    for cell in board.cells:
        for entry in cell.entries:
            for warning in entry.scored.warnings if entry.scored is not None else ():
                messages.setdefault(warning.id, warning.message)
                found[warning.id][id(cell)] = cell
    for suspicion in board.suspicions:
        messages.setdefault(suspicion.id, suspicion.message)
        found[suspicion.id] |= {id(cell): cell for cell in suspicion.cells}
    ranked = sorted(found, key=lambda identifier: (-len(found[identifier]), identifier))
    return [(identifier, messages[identifier], list(found[identifier].values())) for identifier in ranked]
