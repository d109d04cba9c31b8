"""What a board says, in a few sentences: which defence is best against what, by how much, and how sure that is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sparring.leaderboard import wording
from sparring.leaderboard.contest import Contest, Lead
from sparring.leaderboard.papers import Agreement
from sparring.leaderboard.summary import SummaryRow, summary
from sparring.leaderboard.table import Board

NAMED = 4
"""Victims that a sentence names; more are counted."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """`about`: to what it answers; `best`: who, "" where nobody surely is; `text`: the rest."""

    about: str
    best: str
    text: str


@dataclass(frozen=True, slots=True)
class _Match:
    """A contest, where it was held, and what of it was left out: "2 of 7 attacks", or ""."""

    place: str
    contest: Contest
    faced: str = ""

    @property
    def best(self) -> str:
        assert self.contest.best is not None
        return self.contest.best

    @property
    def lead(self) -> Lead:
        assert self.contest.lead is not None
        return self.contest.lead

    def score(self, label: str) -> float:
        return self.contest.scores[label].statistic.mean


@dataclass(frozen=True, slots=True)
class _Question:
    """Several contests of one kind.

    Attributes:
        about: what it is about.
        quantity: what the numbers are.
        verb: of who surely is best.
        idle: the label of doing nothing; "" where that does not compete.
        called: label -> what a sentence calls it.
        places: "victims", or what else the contests were held on.
    """

    about: str
    quantity: str
    verb: str
    idle: str
    called: Callable[[str], str]
    matches: Sequence[_Match]
    places: str


def headline(board: Board) -> list[Sentence]:
    """In the order of the questions; nothing where nothing is compared."""
    return [*(told for question in _questions(board) for told in _answers(question)), *_papers(board)]


def by_question(board: Board) -> list[tuple[str, list[Sentence]]]:
    """The headline's sentences under what they answer."""
    found: dict[str, list[Sentence]] = {}
    for sentence in headline(board):
        found.setdefault(sentence.about, []).append(sentence)
    return list(found.items())


def _questions(board: Board) -> Iterator[_Question]:
    found, names = summary(board), board.names
    datasets = len({row.dataset for row in found.rows})
    places = "victims" if datasets == 1 else "pairs of data set and victim"
    rows = [(found.place(row), row) for row in found.rows]
    if len(found.defences) > 1:
        faced = {place: _few(row.compared, found.attacks) for place, row in rows}
        robust = [_Match(place, row.compared.robust, faced.get(place, "")) for place, row in rows]
        met = {place: f"over {wording.poisons_text(row.trained)}" if row.trained else "" for place, row in rows}
        poisoned = [_Match(place, row.compared_trained.poisoned, met[place]) for place, row in rows]
        asr = [_Match(place, row.compared_trained.asr, met[place]) for place, row in rows]
        for about, quantity, verb, matches in (
            ("Attacks at inference", "robust accuracy in the worst case", "holds best", robust),
            ("Poisoned training sets", "clean accuracy in the worst case", "holds best", poisoned),
            ("Backdoors, targeted poisons", "attack success", "keeps it lowest", asr),
        ):
            yield _Question(about, quantity, verb, "none", names.defence, matches, places)
    if found.harms:
        harms = [_Match(place, row.harm) for place, row in rows]
        yield _Question(
            "Poisons, undefended", "clean accuracy that is left", "does most harm", "", names.attack, harms, places
        )


def _answers(question: _Question) -> Iterator[Sentence]:
    """A sentence for each that is surely best somewhere, and up to three for where nobody is: something helps, nothing
    does, or doing nothing does not compete."""
    held = [match for match in question.matches if match.contest.lead is not None]
    sure: dict[str, list[_Match]] = defaultdict(list)
    for match in held:
        if match.lead.sure:
            sure[match.best].append(match)
    for best, won in sorted(sure.items(), key=lambda item: -len(item[1])):
        yield Sentence(question.about, question.called(best), _won(question, best, won, len(held)))
    rest = [match for match in held if not match.lead.sure]
    if helped := [match for match in rest if match.contest.above.get(question.idle)]:
        yield Sentence(question.about, "", _some_help(question, helped, len(held)))
        rest = [match for match in rest if match not in helped]
    if useless := [match for match in rest if question.idle in match.contest.level]:
        yield Sentence(question.about, "", _no_help(question, useless, len(held)))
        rest = [match for match in rest if match not in useless]
    if rest:
        yield Sentence(question.about, "", _undecided(question, rest, len(held)))


def _won(question: _Question, best: str, won: Sequence[_Match], of: int) -> str:
    told = f"{question.verb} on {_places(question, won, of)}: {question.quantity} "
    told += f"{_range(match.score(best) for match in won)} %"
    if question.idle and best != question.idle and all(question.idle in match.contest.scores for match in won):
        told += f", undefended {_range(match.score(question.idle) for match in won)} %"
    told += f"; {_range(match.lead.mean for match in won)} points before {_next(question, won)}"
    return f"{told}, beyond chance{_interval(won)}{_faced(won)}."


def _next(question: _Question, matches: Sequence[_Match]) -> str:
    """Who is second; "the next" where that is not the same everywhere."""
    found = {question.called(match.lead.next) for match in matches}
    return found.pop() if len(found) == 1 else "the next"


def _some_help(question: _Question, matches: Sequence[_Match], of: int) -> str:
    """The first is not told apart from the second, but some are surely better than doing nothing."""
    helpers = [
        (match, label)
        for match in matches
        for label in match.contest.scores
        if label in match.contest.above[question.idle]
    ]
    who = _counted(Counter(question.called(label) for _, label in helpers), len(matches))
    told = f"On {_places(question, matches, of)} surely better than none: {who}; {question.quantity} "
    told += f"{_range(match.score(label) for match, label in helpers)} %, undefended "
    told += f"{_range(match.score(question.idle) for match in matches)} %"
    ahead = _counted(Counter(question.called(match.best) for match in matches), len(matches))
    told += f"; ahead is {ahead} with {_range(match.score(match.best) for match in matches)} %"
    return f"{told}, not told apart from {_next(question, matches)}{_interval(matches)}{_faced(matches)}."


def _no_help(question: _Question, matches: Sequence[_Match], of: int) -> str:
    told = f"On {_places(question, matches, of)} no defence is surely better than none: {question.quantity} undefended "
    told += f"{_range(match.score(question.idle) for match in matches)} %"
    leaders = [match for match in matches if match.best != question.idle]
    if leaders:
        ahead = _counted(Counter(question.called(match.best) for match in leaders), len(leaders))
        told += (
            f"; ahead{_some(leaders, matches)} is {ahead} with {_range(match.score(match.best) for match in leaders)}"
        )
        told += " %, not told apart from it" if _known(leaders) else " %, in one repetition"
        told += _interval(leaders) if all(match.lead.next == question.idle for match in leaders) else ""
    return f"{told}{_faced(matches)}."


def _undecided(question: _Question, matches: Sequence[_Match], of: int) -> str:
    ahead = _counted(Counter(question.called(match.best) for match in matches), len(matches))
    told = f"On {_places(question, matches, of)} ahead is {ahead}: {question.quantity} "
    told += f"{_range(match.score(match.best) for match in matches)} %"
    if _known(matches):
        told += f", not told apart from {_next(question, matches)}"
    else:
        told += ", in one repetition, which claims no order"
    return f"{told}{_interval(matches)}{_faced(matches)}."


def _interval(matches: Sequence[_Match]) -> str:
    """ " (95 %: 8.9 to 16.5)": of the lead, in points; from the lowest to the highest end where there are several."""
    known = [match.lead.interval for match in matches if match.lead.interval is not None]
    if not known:
        return ""
    low, high = max(-1.0, min(low for low, _ in known)), min(1.0, max(high for _, high in known))
    return f" (95 %: {wording.percent(low)} to {wording.percent(high)} points)".replace("-", "−")


def _known(matches: Sequence[_Match]) -> bool:
    """Whether there are intervals."""
    return all(match.lead.interval is not None for match in matches)


def _some(part: Sequence[_Match], whole: Sequence[_Match]) -> str:
    return "" if len(part) == len(whole) else f" on {len(part)} of them"


def _faced(matches: Sequence[_Match]) -> str:
    """That these victims faced fewer attacks than others, or that the worst case is not over all."""
    told = dict.fromkeys(match.faced for match in matches)
    return f" ({' or '.join(told)})" if all(told) else ""


def _few(row: SummaryRow, most: int) -> str:
    told = wording.evasions_text(row, most)
    if row.is_common:
        return f"over {told}"
    return f"only {told} apply there" if row.attacks < most else ""


def _counted(names: Counter[str], of: int) -> str:
    """ "jpeg (2 of 3), none (1 of 3)"; by name only where there is one, or all are of one."""
    if len(names) == 1 or of == 1:
        return ", ".join(names)
    return ", ".join(f"{name} ({times} of {of})" for name, times in names.most_common())


def _papers(board: Board) -> Iterator[Sentence]:
    counts = Counter(line.agreement for found in board.papers for line in found.lines)
    measured = sum(counts.values()) - counts[Agreement.OPEN]
    if not counts:
        return
    told = f"Ours agrees with {counts[Agreement.YES]} of {wording.counted(measured, 'printed number')}"
    if measured > counts[Agreement.YES]:
        told += f", is higher than {counts[Agreement.HIGHER]} and lower than {counts[Agreement.LOWER]}"
    if counts[Agreement.OPEN]:
        told += f"; {counts[Agreement.OPEN]} {'is' if counts[Agreement.OPEN] == 1 else 'are'} not measured"
    yield Sentence("Beside the papers", "", told + ".")


def _places(question: _Question, matches: Sequence[_Match], of: int) -> str:
    """ "3 of 5 victims (logistic, mlp, cnn)"; the only one by its name."""
    names = [match.place for match in matches]
    if len(names) == 1:
        return names[0]
    if len(names) == of:
        return f"both {question.places}" if of == 2 else f"all {of} {question.places}"
    return f"{len(names)} of {of} {question.places}" + (f" ({', '.join(names)})" if len(names) <= NAMED else "")


def _range(values: Iterable[float]) -> str:
    """ "8.8 to 14.0", in percent; one number where all are the same."""
    found = list(values)
    low, high = wording.percent(min(found)), wording.percent(max(found))
    return low if low == high else f"{low} to {high}"
