"""The head of README.md: which defence holds best, and which poison does most harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sparring.leaderboard import wording
from sparring.leaderboard.markdown_text import code, escaped, row_of
from sparring.leaderboard.summary import Contest, Summary, SummaryRow, summary
from sparring.leaderboard.table import Board


def markdown_summary(board: Board) -> Iterator[str]:
    """Blocks: a table for attacks at inference and one for those on the training set, where there is anything to
    compare."""
    found = summary(board)
    defended = len(found.defences) > 1 and (found.evades or found.poisons)
    if defended:
        yield from _defences(found)
    if found.harms:
        yield from _harms(found)
    if defended or found.harms:
        yield (
            "Points are percentage points before the next best, in brackets the 95 % interval of the paired difference "
            "over repetitions; where it holds 0, the two cannot be told apart. #1, #2: ranks in the row: 1 and how "
            "many are surely better, so that what cannot be told apart may share one."
        )


def _defences(found: Summary) -> Iterator[str]:
    yield "## Which defence holds best?"
    if found.evades:
        yield (
            "**Attacks at inference**: robust accuracy in the worst case over all of them (below it, accuracy without "
            "an attack). Bold: the best."
        )
        yield "\n".join(_robust(found))
    if found.poisons:
        yield (
            "**Attacks on the training set**: CA, the least clean accuracy over poisoning attacks, and ASR, the "
            "highest success rate over backdoors and targeted poisons (lower is better). Bold: the best of each."
        )
        yield "\n".join(_poisoned(found))


def _harms(found: Summary) -> Iterator[str]:
    yield "## Which poison does most harm?"
    yield "Clean accuracy of the undefended victim after each attack on its training set. Bold: the lowest."
    yield "\n".join(_harm_lines(found))


def _harm_lines(found: Summary) -> Iterator[str]:
    yield row_of(
        ["victim", "no attack", *(code(found.names.attack(attack)) for attack in found.poisoners), "most harm"]
    )
    yield row_of([":--", *("--:" for _ in range(1 + len(found.poisoners))), ":--"])
    for row, place in _rows(found):
        if not row.harm.scores:
            continue
        clean = row.clean.get("none")
        cells = ["<br>".join(_numbers(row.harm, attack)) or "–" for attack in found.poisoners]
        untouched = wording.spread(clean, True) if clean is not None else "–"
        yield row_of([place, untouched, *cells, _told(row.harm, found.names.attack)])


def _robust(found: Summary) -> Iterator[str]:
    yield from _head(found)
    for row, place in _placed(found, found.evasions):
        about = wording.evasions_text(row, found.attacks)
        cells = (_robust_cell(row, defence) for defence in found.defences)
        yield row_of([f"{place}<br>{about}", *cells, _told(row.robust, found.names.defence)])


def _robust_cell(row: SummaryRow, defence: str) -> str:
    clean = row.clean.get(defence)
    lines = _numbers(row.robust, defence) + ([f"clean {wording.percent(clean.mean)}"] if clean is not None else [])
    return "<br>".join(lines) or "–"


def _poisoned(found: Summary) -> Iterator[str]:
    yield from _head(found)
    for row, place in _rows(found):
        both = (("CA", row.poisoned), ("ASR", row.asr))
        cells = [
            "<br>".join(f"{short} {text}" for short, judged in both for text in _numbers(judged, defence)) or "–"
            for defence in found.defences
        ]
        said = [f"{short}: {_told(judged, found.names.defence)}" for short, judged in both if judged.best is not None]
        yield row_of([f"{place}<br>{wording.poisons_text(row)}", *cells, "<br>".join(said)])


def _head(found: Summary) -> Iterator[str]:
    yield row_of(
        ["victim", *(code(found.names.plugin(defence)) for defence in found.defences), "best, and how sure that is"]
    )
    yield row_of([":--", *("--:" for _ in found.defences), ":--"])


def _rows(found: Summary) -> Iterator[tuple[SummaryRow, str]]:
    return _placed(found, found.rows)


def _placed(found: Summary, rows: Sequence[SummaryRow]) -> Iterator[tuple[SummaryRow, str]]:
    datasets = len({row.dataset for row in found.rows})
    for row in rows:
        yield row, escaped(wording.place(row.dataset, row.victim, datasets, found.names))


def _numbers(judged: Contest, label: str) -> list[str]:
    score = judged.scores.get(label)
    if score is None:
        return []
    number = wording.spread(score.statistic, True) + wording.rank(judged, label)
    return [(f"**{number}**" if label == judged.best else number) + (f" ({score.remark})" if score.remark else "")]


def _told(judged: Contest, called: Callable[[str], str]) -> str:
    best, how = wording.verdict(judged, called)
    return f"**{escaped(best)}**{escaped(how)}" if best else ""
