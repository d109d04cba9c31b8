"""The head of index.html: which defence holds best and which poison does most harm, as the template draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparring.leaderboard import wording
from sparring.leaderboard.heat import heat
from sparring.leaderboard.summary import Contest, Summary, SummaryRow, summary
from sparring.leaderboard.table import Board


@dataclass(frozen=True, slots=True)
class Line:
    """One number: "ASR", "93.1", "± 0.8", and whether it is the best of its row."""

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
    """A victim: its name, what attacked it, its cells, and (what, who is best, by how much) in words."""

    place: str
    about: str
    cells: tuple[SummaryCell, ...]
    verdicts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class SummaryTable:
    """`last` heads the column of verdicts."""

    title: str
    note: str
    last: str
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    lines: tuple[SummaryLine, ...]


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
    defences = []
    if len(found.defences) > 1 and found.evades:
        defences.append(_defences(found, found.evasions, "Attacks at inference", ROBUST_NOTE, _robust_line))
    if len(found.defences) > 1 and found.poisons:
        defences.append(_defences(found, found.rows, "Attacks on the training set", POISONED_NOTE, _poisoned_line))
    harms = [_harms(found)] if found.harms else []
    questions = (("Which defence holds best?", defences), ("Which poison does most harm?", harms))
    return [(question, tables) for question, tables in questions if tables]


def _defences(
    found: Summary,
    rows: Sequence[SummaryRow],
    title: str,
    note: str,
    line: Callable[[Summary, SummaryRow, str], SummaryLine],
) -> SummaryTable:
    datasets = len({row.dataset for row in found.rows})
    return SummaryTable(
        title,
        note,
        "best, and how sure that is",
        tuple(found.names.plugin_parts(defence) for defence in found.defences),
        tuple(line(found, row, wording.place(row.dataset, row.victim, datasets, found.names)) for row in rows),
    )


def _harms(found: Summary) -> SummaryTable:
    datasets = len({row.dataset for row in found.rows})
    columns = (("no attack", ()), *(found.names.attack_parts(attack) for attack in found.poisoners))
    lines = (
        _harm_line(found, row, wording.place(row.dataset, row.victim, datasets, found.names))
        for row in found.rows
        if row.harm.scores
    )
    return SummaryTable("Without a defence", HARM_NOTE, "most harm, and how sure that is", columns, tuple(lines))


def _harm_line(found: Summary, row: SummaryRow, place: str) -> SummaryLine:
    cells = (_untouched_cell(row), *(_harm_cell(row, attack) for attack in found.poisoners))
    said = ("", *wording.verdict(row.harm, found.names.attack))
    return SummaryLine(place, "", cells, (said,) if said[1] else ())


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


def _robust_line(found: Summary, row: SummaryRow, place: str) -> SummaryLine:
    cells = tuple(_robust_cell(row, defence) for defence in found.defences)
    return SummaryLine(
        place,
        wording.evasions_text(row, found.attacks),
        cells,
        (("", *wording.verdict(row.robust, found.names.defence)),),
    )


def _robust_cell(row: SummaryRow, defence: str) -> SummaryCell:
    score, clean = row.robust.scores.get(defence), row.clean.get(defence)
    small = [f"clean {wording.percent(clean.mean)}"] if clean is not None else []
    if score is None:
        return SummaryCell((), tuple(small), "", 0)
    small += [score.remark] if score.remark else []
    return SummaryCell(_lines(row.robust, defence, ""), tuple(small), *heat(score.statistic.mean))


def _poisoned_line(found: Summary, row: SummaryRow, place: str) -> SummaryLine:
    cells = tuple(_poisoned_cell(row, defence) for defence in found.defences)
    said = [
        ("CA", *wording.verdict(row.poisoned, found.names.defence)),
        ("ASR", *wording.verdict(row.asr, found.names.defence)),
    ]
    return SummaryLine(place, wording.poisons_text(row), cells, tuple(told for told in said if told[1]))


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
    return (Line(short, number, rest + wording.rank(contest, label), label == contest.best),)
