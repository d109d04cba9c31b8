"""What the records say, as tables: the one model that every rendering reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sparring.cell import Cell
from sparring.leaderboard.labels import Names
from sparring.leaderboard.statistic import Statistic, Trials
from sparring.record import Failed, NotApplicable, Provenance, Record, Scored
from sparring.stage import FailureKind

if TYPE_CHECKING:
    from sparring.leaderboard.papers import PaperComparison
    from sparring.leaderboard.suspicion import Suspicion
    from sparring.pictures import Picture

WAYS: Final[tuple[str, ...]] = ("oblivious", "adaptive")
"""What an attacker at inference knows of a guard: nothing, or all."""


DETAILED: Final = 6_000
"""Cells up to which index.html holds everything that is behind each; of a larger board, only the tables."""


class State(StrEnum):
    """What became of a cell of the suite."""

    SCORED = "scored"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    NOT_RUN = "not run"


def split_knowledge(label: str) -> tuple[str, str]:
    """`jpeg@adaptive` as ("jpeg", "adaptive"); without a guard ("jpeg", "")."""
    base, _, knowledge = label.rpartition("@")
    return (base, knowledge) if base and knowledge in WAYS else (label, "")


class MetricInfo(NamedTuple):
    """What a metric means. `direction`: "higher", "lower" or "neither" is better for the defender; `unit`: "%" for
    fractions that are shown as percentages."""

    definition: str
    direction: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCell:
    """A cell of the suite, by its labels; `when` and `goal` help where it has no record yet."""

    id: str
    dataset: str
    victim: str
    attack_label: str
    defence_label: str
    repetition: int = 0
    when: str | None = None
    goal: str | None = None

    @classmethod
    def of(cls, cell: Cell) -> ExpectedCell:
        """As the suite has it."""
        return cls(
            id=cell.id,
            dataset=str(cell.dataset),
            victim=str(cell.victim),
            attack_label=cell.attack_label,
            defence_label=cell.defence_label,
            repetition=cell.repetition,
            when=None if cell.threat.when is None else cell.threat.when.value,
            goal=None if cell.threat.goal is None else cell.threat.goal.value,
        )

    @classmethod
    def told_by(cls, record: Record) -> ExpectedCell:
        """As a record has it, where no suite is at hand."""
        cell = record.cell
        return cls(
            id=cell.id,
            dataset=cell.dataset.selector,
            victim=cell.victim.selector,
            attack_label=cell.attack_label,
            defence_label=cell.defence_label,
            repetition=cell.repetition,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One repetition of a table's cell: what the suite expects, and the record if there is one."""

    id: str
    repetition: int
    record: Record | None

    @property
    def state(self) -> State:
        match self.record.outcome if self.record is not None else None:
            case None:
                return State.NOT_RUN
            case Scored():
                return State.SCORED
            case NotApplicable():
                return State.NOT_APPLICABLE
            case Failed(kind=kind):
                return State.TIMED_OUT if kind is FailureKind.TIMEOUT else State.FAILED

    @property
    def scored(self) -> Scored | None:
        outcome = self.record.outcome if self.record is not None else None
        return outcome if isinstance(outcome, Scored) else None

    @property
    def said(self) -> tuple[str, ...]:
        """Why there is no number: reasons, or the error."""
        match self.record.outcome if self.record is not None else None:
            case NotApplicable(reasons=reasons):
                return tuple(reasons)
            case Failed(stage=stage, error=error):
                return (f"{stage}: {error}",)
            case _:
                return ()


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that a table shows of a cell. `short` is "" where the row makes plain what it is."""

    metric: str
    short: str
    statistic: Statistic
    trials: Trials | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """Attack × defence for one data set and victim, over all repetitions."""

    dataset: str
    victim: str
    attack: str
    defence: str
    when: str | None
    goal: str | None
    threat: Mapping[str, Any]
    entries: tuple[Entry, ...]
    metrics: Mapping[str, Statistic]
    measures: tuple[Measure, ...]

    @property
    def counts(self) -> Counter[State]:
        return Counter(entry.state for entry in self.entries)

    @property
    def scored(self) -> int:
        return self.counts[State.SCORED]

    @property
    def expected(self) -> int:
        return len(self.entries)

    @property
    def not_applicable(self) -> bool:
        """Whether it is so in every repetition."""
        return self.counts[State.NOT_APPLICABLE] == self.expected

    @property
    def base(self) -> str:
        """The defence, whether a guard is known to the attacker or not."""
        return split_knowledge(self.defence)[0]

    @property
    def evasion(self) -> bool:
        """Whether it counts for the worst case: attacks at inference within a budget. Where distortion is the result
        (`minimal`), every sample falls in the end, and that says nothing about a budget."""
        goals = (None, "evasion", "targeted")
        return self.when == "inference" and self.goal in goals and self.threat.get("budget") != "minimal"


@dataclass(frozen=True, slots=True)
class WorstCase:
    """Robust accuracy when a sample counts only if every attack fails on it.

    Attributes:
        statistic: over the repetitions.
        repetitions: which ones, in the order of `statistic.values`.
        entered: labels of the attacks that entered, in the order of the table; a guard's both ways.
        fewest: how many attacks entered, each in all its ways, in the repetition with the fewest.
        eligible: how many should have.
        ways: what those attackers know of the guard: ("oblivious", "adaptive"), or one of both, or () without a guard.
    """

    statistic: Statistic
    repetitions: tuple[int, ...]
    entered: tuple[str, ...]
    fewest: int
    eligible: int
    ways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A defence. A guard has two, `knowledge` "oblivious" and "adaptive", where any attack of the table tells them
    apart; attacks that do not are in both."""

    label: str
    base: str
    knowledge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All attacks and defences of one data set and victim.

    Attributes:
        rows: attack labels.
        cells: by (attack label, column label); absent where the suite has no such cell.
        distinct: every cell once, in order of rows and columns.
        worst: by column label; both columns of a guard hold the same.
        names: of the board.
    """

    dataset: str
    victim: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, str], TableCell]
    distinct: tuple[TableCell, ...]
    worst: Mapping[str, WorstCase]
    names: Names

    @property
    def bases(self) -> tuple[str, ...]:
        """The defences, each once."""
        return tuple(dict.fromkeys(column.base for column in self.columns))

    def repeats(self, row: str, column: Column) -> bool:
        """Whether the cell is that of the guard's column before: the attack is the same for both."""
        if column.knowledge != "adaptive":
            return False
        cell = self.cells.get((row, column.label))
        return cell is not None and cell is self.cells.get((row, f"{column.base}@oblivious"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything that is rendered.

    Attributes:
        counts: cells by state.
        metrics: what is known of metrics, by name.
        provenances: the distinct ones of the scored records, in order of first use; of all where none is scored.
        strays: records of cells that the suite no longer has; they are in no table.
        papers: numbers of papers beside ours.
        controls: patterns over attacks and defences that are shown, but do not compete.
        names: what its renderings call attacks, data sets, victims and defences.
        suspicions: warnings about several cells, or about what their records give away.
        problems: lines that could not be read.
        pictures: of chosen cells, by the id of the cell.
    """

    title: str
    description: str = ""
    tables: tuple[Table, ...] = ()
    counts: Mapping[State, int] = field(default_factory=dict)
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    provenances: tuple[Provenance, ...] = ()
    strays: int = 0
    papers: tuple[PaperComparison, ...] = ()
    controls: tuple[str, ...] = ()
    names: Names = field(default_factory=Names)
    suspicions: tuple[Suspicion, ...] = ()
    problems: tuple[str, ...] = ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[TableCell, ...]:
        return tuple(cell for table in self.tables for cell in table.distinct)

    @property
    def expected(self) -> int:
        return sum(self.counts.values())

    @property
    def detailed(self) -> bool:
        """Whether index.html holds what is behind each cell."""
        return self.expected <= DETAILED

    @property
    def repetitions(self) -> int:
        return max((cell.expected for cell in self.cells), default=0)
