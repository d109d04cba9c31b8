"""The head of README.md: which defence holds best, and which poison does most harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sparring.leaderboard import wording
from sparring.leaderboard.contest import Contest
from sparring.leaderboard.markdown_text import code, escaped, row_of
from sparring.leaderboard.summary import Summary, SummaryRow, summary
from sparring.leaderboard.table import Board

Cell = Callable[[SummaryRow, str], Sequence[str]]


def markdown_summary(board: Board) -> Iterator[str]:
    """Blocks: a table for attacks at inference and one for those on the training set, where there is anything to
    compare, each with a line for every victim that says who is best, and how sure that is."""
    found = summary(board)
    defended = len(found.defences) > 1 and (found.evades or found.poisons)
    if defended:
        yield from _defences(found)
    if found.harms:
        yield from _harms(found)
    if defended or found.harms:
        yield (
            "Best first, by how far behind the best on average over the columns. Points are percentage points before "
            "the next best, in brackets the 95 % interval of the paired difference over repetitions; where it holds 0, "
            "the two cannot be told apart. #1, #2: ranks in the column: 1 and how many are surely better, so that what "
            "cannot be told apart may share one."
        )


def _defences(found: Summary) -> Iterator[str]:
    yield "## Which defence holds best?"
    if found.evades:
        yield (
            "**Attacks at inference**: robust accuracy in the worst case over all of them (below it, accuracy without "
            "an attack). Bold: the best."
        )
        abouts = [wording.evasions_text(row, found.attacks) for row in found.evasions]
        heads = _heads(found, found.evasions, abouts)
        yield _table("defence", heads, found.evasions, [(d, _defence(found, d)) for d in found.by_robustness], _robust)
        yield _verdicts(found, [row.compared for row in found.rows], _robust_told)
    if found.poisons:
        yield (
            "**Attacks on the training set**: CA, the least clean accuracy over poisoning attacks, and ASR, the "
            "highest success rate over backdoors and targeted poisons (lower is better). Bold: the best of each."
        )
        rows = found.trainings
        heads = _heads(found, rows, [wording.poisons_text(row) for row in rows])
        yield _table("defence", heads, rows, [(d, _defence(found, d)) for d in found.by_cleanliness], _poisoned)
        yield _verdicts(found, [row.compared_trained for row in found.rows], _poisoned_told)


def _harms(found: Summary) -> Iterator[str]:
    yield "## Which poison does most harm?"
    yield "Clean accuracy of the undefended victim after each attack on its training set. Bold: the lowest."
    rows = [row for row in found.rows if row.harm.scores]
    labels = [("", "no attack"), *((attack, code(found.names.attack(attack))) for attack in found.by_harm)]
    yield _table("attack", _heads(found, rows, [""] * len(rows)), rows, labels, _harm)
    yield _verdicts(found, rows, lambda found, row: _told(row.harm, found.names.attack))


def _table(
    corner: str, heads: Sequence[str], rows: Sequence[SummaryRow], labels: Sequence[tuple[str, str]], cell: Cell
) -> str:
    """A line for each of `labels` (label, shown) and a column for each of the summary's rows."""
    lines = [row_of([corner, *heads]), row_of([":--", *("--:" for _ in rows)])]
    for label, shown in labels:
        lines.append(row_of([shown, *("<br>".join(cell(row, label)) or "–" for row in rows)]))
    return "\n".join(lines)


def _defence(found: Summary, defence: str) -> str:
    return code(found.names.plugin(defence))


def _heads(found: Summary, rows: Sequence[SummaryRow], abouts: Sequence[str]) -> list[str]:
    places = (escaped(found.place(row)) for row in rows)
    return [f"{place}<br>{about}" if about else place for place, about in zip(places, abouts, strict=True)]


def _robust(row: SummaryRow, defence: str) -> list[str]:
    clean = row.clean_below(defence)
    return _numbers(row.robust, defence) + ([f"clean {wording.percent(clean.mean)}"] if clean is not None else [])


def _poisoned(row: SummaryRow, defence: str) -> list[str]:
    both = (("CA", row.poisoned), ("ASR", row.asr))
    return [f"{short} {text}" for short, judged in both for text in _numbers(judged, defence)]


def _harm(row: SummaryRow, attack: str) -> list[str]:
    clean = row.clean.get("none")
    if attack:
        return _numbers(row.harm, attack)
    return [wording.spread(clean, True)] if clean is not None else []


def _numbers(judged: Contest, label: str) -> list[str]:
    score = judged.scores.get(label)
    if score is None:
        return []
    number = wording.spread(score.statistic, True) + wording.rank(judged, label)
    return [(f"**{number}**" if judged.won_by(label) else number) + (f" ({score.remark})" if score.remark else "")]


def _verdicts(found: Summary, rows: Sequence[SummaryRow], told: Callable[[Summary, SummaryRow], str]) -> str:
    said = ((escaped(found.place(row)), told(found, row)) for row in rows)
    return "\n".join(f"- {place}: {text}" for place, text in said if text)


def _robust_told(found: Summary, row: SummaryRow) -> str:
    return _told(row.robust, found.names.defence)


def _poisoned_told(found: Summary, row: SummaryRow) -> str:
    both = (("CA", row.poisoned), ("ASR", row.asr))
    return "; ".join(f"{short} {_told(judged, found.names.defence)}" for short, judged in both if judged.lead)


def _told(judged: Contest, called: Callable[[str], str]) -> str:
    best, how = wording.verdict(judged, called)
    return f"**{escaped(best)}**{escaped(how)}" if best else ""
