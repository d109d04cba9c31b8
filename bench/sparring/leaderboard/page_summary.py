"""The head of index.html: which defence holds best and which poison does most harm, as the template draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparring.leaderboard import wording
from sparring.leaderboard.contest import Contest
from sparring.leaderboard.heat import heat
from sparring.leaderboard.summary import Summary, SummaryRow, summary
from sparring.leaderboard.table import Board


@dataclass(frozen=True, slots=True)
class Line:
    """One number: "ASR", "93.1", "± 0.8", and whether it is the best of its column."""

    short: str
    number: str
    rest: str
    best: bool


@dataclass(frozen=True, slots=True)
class SummaryCell:
    """The numbers of a defence or an attack on one victim; `small` stands below them."""

    lines: tuple[Line, ...]
    small: tuple[str, ...]
    side: str
    strength: int


@dataclass(frozen=True, slots=True)
class SummaryLine:
    """A defence or an attack: its name and parameters, and its cells, one for each column."""

    parts: tuple[str, tuple[str, ...]]
    cells: tuple[SummaryCell, ...]


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """Lines, best first, and a column for each victim: (its name, what attacked it).

    Attributes:
        corner: what the lines are.
        verdicts: by victim, (what, who is best, by how much) in words.
    """

    title: str
    note: str
    corner: str
    columns: tuple[tuple[str, str], ...]
    lines: tuple[SummaryLine, ...]
    verdicts: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]


ROBUST_NOTE = (
    "Robust accuracy in the worst case: an image counts only if it is classified correctly after every attack at "
    "inference, a guard's oblivious and adaptive ones together. Below it, accuracy without an attack."
)
POISONED_NOTE = (
    "CA: the least clean accuracy over poisoning attacks, higher is better. ASR: the highest attack success rate over "
    "backdoors and targeted poisons, lower is better."
)


HARM_NOTE = "Clean accuracy of the undefended victim after each attack on its training set; the lowest does most harm."


def summary_tables(board: Board) -> list[tuple[str, list[SummaryTable]]]:
    """Questions, and the tables that answer them: one for attacks at inference, one for those on the training set, one
    for what poisons do; none where there is nothing to compare."""
    found = summary(board)
    defences = [_robust(found)] if len(found.defences) > 1 and found.evades else []
    defences += [_poisoned(found)] if len(found.defences) > 1 and found.poisons else []
    harms = [_harms(found)] if found.harms else []
    questions = (("Which defence holds best?", defences), ("Which poison does most harm?", harms))
    return [(question, tables) for question, tables in questions if tables]


def _robust(found: Summary) -> SummaryTable:
    rows = found.evasions
    return SummaryTable(
        "Attacks at inference",
        ROBUST_NOTE,
        "defence",
        tuple((found.place(row), wording.evasions_text(row, found.attacks)) for row in rows),
        _lines_of(rows, found.by_robustness, found.names.plugin_parts, _robust_cell),
        _verdicts(found, [row.compared for row in found.rows], _robust_told),
    )


def _poisoned(found: Summary) -> SummaryTable:
    return SummaryTable(
        "Attacks on the training set",
        POISONED_NOTE,
        "defence",
        tuple((found.place(row), wording.poisons_text(row)) for row in found.trainings),
        _lines_of(found.trainings, found.by_cleanliness, found.names.plugin_parts, _poisoned_cell),
        _verdicts(found, [row.compared_trained for row in found.rows], _poisoned_told),
    )


def _harms(found: Summary) -> SummaryTable:
    rows = [row for row in found.rows if row.harm.scores]
    untouched = SummaryLine(("no attack", ()), tuple(_untouched_cell(row) for row in rows))
    return SummaryTable(
        "Without a defence",
        HARM_NOTE,
        "attack",
        tuple((found.place(row), "") for row in rows),
        (untouched, *_lines_of(rows, found.by_harm, found.names.attack_parts, _harm_cell)),
        _verdicts(found, rows, _harm_told),
    )


def _lines_of(
    rows: Sequence[SummaryRow],
    labels: Sequence[str],
    parts: Callable[[str], tuple[str, tuple[str, ...]]],
    cell: Callable[[SummaryRow, str], SummaryCell],
) -> tuple[SummaryLine, ...]:
    return tuple(SummaryLine(parts(label), tuple(cell(row, label) for row in rows)) for label in labels)


Told = Callable[[Summary, SummaryRow], Sequence[tuple[str, str, str]]]


def _verdicts(
    found: Summary, rows: Sequence[SummaryRow], told: Told
) -> tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]:
    said = ((found.place(row), tuple(one for one in told(found, row) if one[1])) for row in rows)
    return tuple((place, verdicts) for place, verdicts in said if verdicts)


def _robust_told(found: Summary, row: SummaryRow) -> list[tuple[str, str, str]]:
    return [("", *wording.verdict(row.robust, found.names.defence))]


def _poisoned_told(found: Summary, row: SummaryRow) -> list[tuple[str, str, str]]:
    both = (("CA", row.poisoned), ("ASR", row.asr))
    return [(short, *wording.verdict(judged, found.names.defence)) for short, judged in both]


def _harm_told(found: Summary, row: SummaryRow) -> list[tuple[str, str, str]]:
    return [("", *wording.verdict(row.harm, found.names.attack))]


def _untouched_cell(row: SummaryRow) -> SummaryCell:
    clean = row.clean.get("none")
    if clean is None:
        return SummaryCell((), (), "", 0)
    number, _, rest = wording.spread(clean, True).partition(" ")
    return SummaryCell((Line("", number, rest, False),), (), *heat(clean.mean))


def _harm_cell(row: SummaryRow, attack: str) -> SummaryCell:
    score = row.harm.scores.get(attack)
    if score is None:
        return SummaryCell((), (), "", 0)
    remarks = (score.remark,) if score.remark else ()
    return SummaryCell(_lines(row.harm, attack, ""), remarks, *heat(score.statistic.mean))


def _robust_cell(row: SummaryRow, defence: str) -> SummaryCell:
    score, clean = row.robust.scores.get(defence), row.clean_below(defence)
    small = [f"clean {wording.percent(clean.mean)}"] if clean is not None else []
    if score is None:
        return SummaryCell((), tuple(small), "", 0)
    small += [score.remark] if score.remark else []
    return SummaryCell(_lines(row.robust, defence, ""), tuple(small), *heat(score.statistic.mean))


def _poisoned_cell(row: SummaryRow, defence: str) -> SummaryCell:
    lines = _lines(row.poisoned, defence, "CA") + _lines(row.asr, defence, "ASR")
    accuracy, success = row.poisoned.scores.get(defence), row.asr.scores.get(defence)
    shares = [accuracy.statistic.mean] if accuracy is not None else []
    shares += [1 - success.statistic.mean] if success is not None else []
    notes = dict.fromkeys(score.remark for score in (accuracy, success) if score is not None and score.remark)
    return SummaryCell(lines, tuple(notes), *heat(min(shares, default=None)))


def _lines(contest: Contest, label: str, short: str) -> tuple[Line, ...]:
    score = contest.scores.get(label)
    if score is None:
        return ()
    number, _, rest = wording.spread(score.statistic, True).partition(" ")
    return (Line(short, number, rest + wording.rank(contest, label), contest.won_by(label)),)
