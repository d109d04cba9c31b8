"""Which defence holds best and which poison does most harm, by how much, and how sure that is: one contest for each
data set and victim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sparring.exclusion import fits_label
from sparring.leaderboard.aggregate import ASR, CLEAN
from sparring.leaderboard.contest import Contest, Score, best_first, contest
from sparring.leaderboard.labels import Names
from sparring.leaderboard.statistic import Statistic
from sparring.leaderboard.table import Board, Table, TableCell, WorstCase
from sparring.leaderboard.worst_case import worst_case


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One data set and victim.

    Attributes:
        attacks: how many attacks at inference the worst case is over.
        poisons: how many availability attacks on the training set.
        triggers: how many backdoors and targeted attacks on the training set.
        targeted: how many of these are targeted.
        clean: clean accuracy without an attack, by defence.
        robust: worst-case robust accuracy; higher is better.
        poisoned: the least clean accuracy after poisoning, over the attacks of each repetition; higher is better.
        asr: the highest attack success rate of backdoors and targeted poisons; lower is better.
        harm: clean accuracy without a defence after each availability attack on the training set, by attack; the
            lowest is the best for the attacker.
        common: the same over the attacks at inference that most defences met, where at least three, and twice as many,
            can be compared over these as over all: the suite has every attack meet some defences, and others a few.
        trained: the same over the attacks on the training set that most defences met.
        is_common: whether this is such a row.
    """

    dataset: str
    victim: str
    attacks: int
    poisons: int
    triggers: int
    targeted: int = 0
    clean: Mapping[str, Statistic]
    robust: Contest
    poisoned: Contest
    asr: Contest
    harm: Contest
    common: SummaryRow | None = None
    trained: SummaryRow | None = None
    is_common: bool = False

    @property
    def compared(self) -> SummaryRow:
        """The row over which most can be compared after attacks at inference."""
        return self.common or self

    @property
    def compared_trained(self) -> SummaryRow:
        """The row over which most can be compared after attacks on the training set."""
        return self.trained or self

    def clean_below(self, defence: str) -> Statistic | None:
        """What is to be shown below a worst case; it stands once, where another row has the same worst cases."""
        return self.clean.get(defence) if self.common is None or defence in self.robust.scores else None


@dataclass(frozen=True, slots=True)
class Summary:
    """All rows, and the defences and the availability attacks on the training set (columns) that have a number without
    a defence, in the order of the board."""

    rows: tuple[SummaryRow, ...]
    defences: tuple[str, ...]
    poisoners: tuple[str, ...]
    names: Names

    def place(self, row: SummaryRow) -> str:
        """What a row is called; the data set only where there are several."""
        victim = self.names.plugin(row.victim)
        several = len({each.dataset for each in self.rows}) > 1
        return f"{self.names.plugin(row.dataset)} · {victim}" if several else victim

    @property
    def attacks(self) -> int:
        """How many attacks at inference the worst case of the most attacked row is over."""
        return max((row.attacks for row in self.rows), default=0)

    @property
    def evasions(self) -> tuple[SummaryRow, ...]:
        """The rows about attacks at inference: those over common attacks before those over all."""
        return tuple(each for row in self.rows for each in (row.common, row) if each is not None)

    @property
    def trainings(self) -> tuple[SummaryRow, ...]:
        """The rows about attacks on the training set, likewise, without those that say nothing more."""
        both = (
            (row.trained, row) if row.poisoned.scores or row.asr.scores else (row.trained or row,) for row in self.rows
        )
        return tuple(each for rows in both for each in rows if each is not None)

    @property
    def by_robustness(self) -> tuple[str, ...]:
        """The defences, best first, by attacks at inference."""
        return best_first(self.defences, [row.compared.robust for row in self.rows])

    @property
    def by_cleanliness(self) -> tuple[str, ...]:
        """The defences, best first, by attacks on the training set."""
        rows = [row.compared_trained for row in self.rows]
        return best_first(self.defences, [judged for row in rows for judged in (row.poisoned, row.asr)])

    @property
    def by_harm(self) -> tuple[str, ...]:
        """The poisons, those that do most harm first."""
        return best_first(self.poisoners, [row.harm for row in self.rows])

    @property
    def evades(self) -> bool:
        """Whether any row has a worst case."""
        return any(row.robust.scores for row in self.rows)

    @property
    def poisons(self) -> bool:
        """Whether any row was attacked at training time."""
        return any(row.poisoned.scores or row.asr.scores for row in self.trainings)

    @property
    def harms(self) -> bool:
        """Whether there are several poisons to compare."""
        return len(self.poisoners) > 1 and any(row.harm.scores for row in self.rows)


def summary(board: Board) -> Summary:
    """Guards count with the worse of their oblivious and adaptive attacks, sample by sample."""
    defences = tuple(dict.fromkeys(base for table in board.tables for base in table.bases))
    rows = tuple(_row(table, _Judge(board.controls)) for table in board.tables)
    scored = {attack for row in rows for attack in row.harm.scores}
    poisoners = tuple(dict.fromkeys(cell.attack for cell in board.cells if _spoils(cell) and cell.attack in scored))
    return Summary(rows, defences, poisoners, board.names)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Holds contests in which some take part out of competition: `controls`, patterns over labels."""

    controls: tuple[str, ...]

    def contest(self, scores: Mapping[str, Score], lower: bool = False) -> Contest:
        return contest({label: self._noted(label, score) for label, score in scores.items()}, lower)

    def _noted(self, label: str, score: Score) -> Score:
        if not any(fits_label(pattern, label) for pattern in self.controls):
            return score
        return replace(score, note=", ".join(filter(None, ("control", score.note))))


def _spoils(cell: TableCell) -> bool:
    return cell.when == "training" and cell.goal == "availability"


def _row(table: Table, judge: _Judge) -> SummaryRow:
    sensible = [cell for cell in table.distinct if not cell.not_applicable]
    untouched = [cell for cell in sensible if cell.attack == "none" and CLEAN in cell.metrics]
    attacks = len({cell.attack for cell in sensible if cell.evasion})
    repetitions = max((cell.expected for cell in sensible), default=0)
    poisons = [cell for cell in sensible if _spoils(cell)]
    triggers = [cell for cell in sensible if cell.when == "training" and cell.goal in ("backdoor", "targeted")]
    row = SummaryRow(
        dataset=table.dataset,
        victim=table.victim,
        attacks=attacks,
        poisons=len({cell.attack for cell in poisons}),
        triggers=len({cell.attack for cell in triggers}),
        targeted=len({cell.attack for cell in triggers if cell.goal == "targeted"}),
        clean={cell.base: cell.metrics[CLEAN] for cell in untouched},
        robust=judge.contest(_robust(table, table.worst, attacks, repetitions)),
        poisoned=judge.contest(_extreme(poisons, CLEAN, min, repetitions)),
        asr=judge.contest(_extreme(triggers, ASR, max, repetitions), lower=True),
        harm=judge.contest(_by_attack(cell for cell in poisons if cell.defence == "none"), lower=True),
    )
    return _by_training(_split(table, row, repetitions, judge), poisons, triggers, repetitions, judge)


def _split(table: Table, row: SummaryRow, repetitions: int, judge: _Judge) -> SummaryRow:
    """With a row over the attacks that most defences met, if that compares enough more; `row` itself then keeps who met
    more than these."""
    cells = [cell for cell in table.distinct if cell.evasion and not cell.not_applicable]
    shared = _shared(cells)
    worst = {}
    for column in table.columns:
        of_base = [cell for cell in cells if cell.base == column.base and cell.attack in shared]
        if (found := worst_case(of_base)) is not None:
            worst[column.label] = found
    robust = judge.contest(_robust(table, worst, len(shared), repetitions))
    if not _compares_more(robust, row.robust):
        return row
    more = {label: found for label, found in table.worst.items() if found.fewest > len(shared)}
    return replace(
        row,
        robust=judge.contest(_robust(table, more, row.attacks, repetitions)),
        common=replace(row, attacks=len(shared), robust=robust, is_common=True),
    )


def _by_training(
    row: SummaryRow, poisons: Sequence[TableCell], triggers: Sequence[TableCell], repetitions: int, judge: _Judge
) -> SummaryRow:
    """The same for attacks on the training set."""

    def least_accuracy(cells: Sequence[TableCell], beyond: int) -> Contest:
        return judge.contest(_extreme(cells, CLEAN, min, repetitions, beyond))

    def highest_success(cells: Sequence[TableCell], beyond: int) -> Contest:
        return judge.contest(_extreme(cells, ASR, max, repetitions, beyond), lower=True)

    met, poisoned, more_poisoned = _narrowed(poisons, row.poisoned, least_accuracy)
    shared, asr, more_asr = _narrowed(triggers, row.asr, highest_success)
    if met is poisons and shared is triggers:
        return row
    trained = replace(
        row,
        poisons=len({cell.attack for cell in met}),
        triggers=len({cell.attack for cell in shared}),
        targeted=len({cell.attack for cell in shared if cell.goal == "targeted"}),
        poisoned=poisoned,
        asr=asr,
        common=None,
        is_common=True,
    )
    return replace(row, poisoned=more_poisoned, asr=more_asr, trained=trained)


def _narrowed(
    cells: Sequence[TableCell], whole: Contest, held: Callable[[Sequence[TableCell], int], Contest]
) -> tuple[Sequence[TableCell], Contest, Contest]:
    """The cells of the attacks that most defences met, the contest over them, and that of who met more; all cells, the
    `whole` contest and an empty one where that does not compare enough more.

    Args:
        held: (cells, how many attacks must at least be surpassed) -> the contest.
    """
    shared = _shared(cells)
    some = [cell for cell in cells if cell.attack in shared]
    common = held(some, 0)
    if not _compares_more(common, whole):
        return cells, whole, held((), 0)
    return some, common, held(cells, len(shared))


def _shared(cells: Iterable[TableCell]) -> set[str]:
    """The attacks that more than half of the defences met."""
    met: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        met[cell.attack].add(cell.base)
    most = len({base for bases in met.values() for base in bases}) / 2
    return {attack for attack, bases in met.items() if len(bases) > most}


def _compares_more(common: Contest, whole: Contest) -> bool:
    """Whether fewer attacks are worth it: at least three can be compared, and twice as many."""
    return common.complete >= max(3, 2 * whole.complete)


def _by_attack(cells: Iterable[TableCell]) -> dict[str, Score]:
    scores = {}
    for cell in cells:
        values = {e.repetition: e.scored.metrics[CLEAN] for e in cell.entries if e.scored and CLEAN in e.scored.metrics}
        if values:
            scores[cell.attack] = Score(
                values, f"{len(values)} of {cell.expected}" if len(values) < cell.expected else ""
            )
    return scores


def _robust(table: Table, worst_cases: Mapping[str, WorstCase], attacks: int, repetitions: int) -> dict[str, Score]:
    scores = {}
    for column in table.columns:
        if (worst := worst_cases.get(column.label)) is None:
            continue
        notes = [f"{worst.fewest} of {attacks} attacks"] if worst.fewest < attacks else []
        notes += ["oblivious attacks only"] if worst.ways == ("oblivious",) else []
        values = dict(zip(worst.repetitions, worst.statistic.values, strict=True))
        scores[column.base] = Score(values, ", ".join(notes), _partly(values, repetitions))
    return scores


def _partly(values: Mapping[int, float], repetitions: int) -> str:
    return f"{len(values)} of {repetitions} repetitions" if len(values) < repetitions else ""


def _extreme(
    cells: Iterable[TableCell],
    metric: str,
    worst: Callable[[Iterable[float]], float],
    repetitions: int,
    beyond: int = 0,
) -> dict[str, Score]:
    """By defence that met more than `beyond` attacks, the worst of `metric` over the attacks of each repetition."""
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    attacks = set()
    for cell in cells:
        attacks.add(cell.attack)
        for entry in cell.entries:
            value = entry.scored.metrics.get(metric) if entry.scored is not None else None
            if value is not None:
                at = found[cell.base][entry.repetition]
                at[cell.attack] = worst((value, at.get(cell.attack, value)))
    scores = {}
    for base, by_repetition in found.items():
        fewest = min(len(values) for values in by_repetition.values())
        if fewest <= beyond:
            continue
        note = f"{fewest} of {len(attacks)} attacks" if fewest < len(attacks) else ""
        scored = {r: worst(values.values()) for r, values in by_repetition.items()}
        scores[base] = Score(scored, note, _partly(scored, repetitions))
    return scores
