"""Runs a board: plans, hands the graph to an engine, and records every outcome before anything else hears of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sparring.cell import Cell, Selection
from sparring.execution import execute
from sparring.graph import Graph
from sparring.keys import digest_of, plain
from sparring.params import referred
from sparring.plan import Plan, Split
from sparring.plugin import Act, Kind
from sparring.provenance import environment
from sparring.record import CellRecord, Failed, NotApplicable, PluginUse, Provenance, Record, Scored
from sparring.source_digest import short_digest
from sparring.stage import Done, Stage, StageEvent, StageOutcome, WorkerSettings
from sparring.store import Store

if TYPE_CHECKING:
    from sparring.catalogue import Catalogue
    from sparring.engine import Engine
    from sparring.journal import Results


@dataclass
class Tally:
    """How a run went, cell by cell and stage by stage. `failures` counts cells by (kind, stage, error)."""

    scored: int = 0
    cached: int = 0
    failed: int = 0
    not_applicable: int = 0
    stages_run: int = 0
    stages_cached: int = 0
    seconds: float = 0.0
    failures: Counter[tuple[str, str, str]] = field(default_factory=Counter)


@dataclass(frozen=True, eq=False)
class Run:
    """One run of some cells of a plan.

    Attributes:
        plan: the plan.
        todo: the chosen cells, sorted by what has to be done.
        catalogue: for the plugins' distributions, and to tell plugins of finished cells.
        results: where records go.
        settings: for the workers.
        commit: git commit of the board's folder.
    """

    plan: Plan
    todo: Split
    catalogue: Catalogue
    results: Results
    settings: WorkerSettings
    commit: str | None = None

    def go(self, engine: Engine, watch: Callable[[StageEvent, Tally], None]) -> Tally:
        """Run what has to be run; every outcome is journalled as it comes.

        Raises:
            StoreProblem: the store is full or cannot be written; what was finished is recorded.
            EngineUnavailable: the engine cannot run anything.
        """
        tally = Tally(cached=len(self.todo.recorded))
        for cell in self.todo.not_applicable:
            self._note(self._not_applicable(cell), cell, tally)
        cells: dict[str, list[Cell]] = defaultdict(list)
        for cell in self.todo.to_run:
            cells[self.plan.goals[cell.id].key].append(cell)
        seconds: dict[str, float] = {}

        def on_event(event: StageEvent) -> None:
            if isinstance(event.outcome, Done):
                seconds[event.key] = event.outcome.seconds
                tally.stages_cached += event.outcome.cached
                tally.stages_run += not event.outcome.cached
                tally.seconds += 0.0 if event.outcome.cached else event.outcome.seconds
            watch(event, tally)

        answered: set[str] = set()
        with closing(self._outcomes(engine, list(cells), on_event)) as outcomes:  # whatever ends the run, ends it all
            for key, outcome in outcomes:
                answered.add(key)
                for cell in cells[key]:
                    self._note(self._finished(cell, outcome, seconds), cell, tally)
        missing = set(cells) - answered
        if missing:
            raise RuntimeError(f"the engine left {len(missing)} of {len(cells)} cells without an outcome")
        self.results.flush()
        return tally

    def _outcomes(
        self, engine: Engine, goals: list[str], watch: Callable[[StageEvent], None]
    ) -> Generator[tuple[str, StageOutcome], None, None]:
        if goals:  # starting processes takes longer than everything else
            graph = Graph(stages=self.plan.stages_of(self.todo.to_run), goals=goals)
            with Store(self.settings.store).in_use():
                yield from engine.run(graph, execute, self.settings, watch)

    def _note(self, record: Record, cell: Cell, tally: Tally) -> None:
        self.results.append(record)
        if isinstance(record.outcome, Scored):
            tally.scored += 1
        elif isinstance(record.outcome, Failed):
            tally.failed += 1
            tally.failures[record.outcome.kind, record.outcome.stage, record.outcome.error] += 1
        else:
            tally.not_applicable += 1
        self.catalogue.cell_finished(cell, record.outcome)

    def _not_applicable(self, cell: Cell) -> Record:
        against = list(self.plan.objections[cell.id])
        return Record(
            key=digest_of(["not applicable", plain(cell), against]),
            cell=self._described(cell),
            outcome=NotApplicable(reasons=against),
            provenance=self._provenance(environment(self.settings.device, self.settings.threads)),
        )

    def _finished(self, cell: Cell, outcome: StageOutcome, seconds: Mapping[str, float]) -> Record:
        goal = self.plan.goals[cell.id]
        if isinstance(outcome, Done):
            value = outcome.value or {}
            scored: Scored | Failed = Scored.model_validate(value["scored"])
            self._publish(goal.key, value["scored"]["media"])
            where: Mapping[str, Any] = value["environment"]
        else:
            scored = Failed(kind=outcome.kind, stage=outcome.label, error=outcome.error, traceback=outcome.traceback)
            where = environment(self.settings.device, self.settings.threads)
        return Record(
            key=goal.key,
            cell=self._described(cell),
            outcome=scored,
            seconds=self._seconds(goal, seconds),
            provenance=self._provenance(where),
        )

    def _publish(self, key: str, kinds: Iterable[str]) -> None:
        """Put what is kept beside the numbers where the record will say, before there is a record."""
        if not kinds:
            return
        arrays = Store(self.settings.store).load(key).arrays
        for kind in kinds:
            self.results.publish(arrays[f"media/{kind}"])

    def _seconds(self, goal: Stage, seconds: Mapping[str, float]) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        for stage in self.plan.blueprint.chain(goal):
            if stage.key in seconds:
                total[stage.name.value] += seconds[stage.key]
        return {name: round(value, 4) for name, value in sorted(total.items())}

    def _provenance(self, where: Mapping[str, Any]) -> Provenance:
        suite = self.plan.suite
        return Provenance(
            suite_digest=suite.digest, root_seed=suite.seed, commit=self.commit, metrics=self._metrics, **where
        )

    @cached_property
    def _metrics(self) -> dict[str, str]:
        """One digest for the metrics of each distribution."""
        sources: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        for plugged in self.plan.blueprint.metrics.values():
            name = plugged.selection.name
            entry = self.catalogue.entry(Kind.METRIC, name)
            sources[f"{entry.distribution} {entry.version}"].append(
                (name, self.plan.blueprint.source(Kind.METRIC, name))
            )
        return {owner: short_digest(digest_of(sorted(found))) for owner, found in sorted(sources.items())}

    def _described(self, cell: Cell) -> CellRecord:
        defence = self.catalogue.defence(cell.defence.name)
        attack = self.catalogue.attack(cell.attack.name)
        return CellRecord(
            id=cell.id,
            dataset=self._use(Kind.DATASET, cell.dataset),
            victim=self._use(Kind.VICTIM, cell.victim),
            attack=self._use(Kind.ATTACK, cell.attack),
            defence=self._use(Kind.DEFENCE, cell.defence),
            threat=plain(cell.threat.stated()),
            when=str(attack.when),
            guarded=Act.GUARD in defence.acts,
            attack_label=cell.attack_label,
            defence_label=cell.defence_label,
            repetition=cell.repetition,
        )

    def _use(self, kind: Kind, selection: Selection) -> PluginUse:
        """What a record says of a plugin; made once for all records."""
        if (kind, selection) not in self._uses:
            self._uses[kind, selection] = self._described_use(kind, selection)
        return self._uses[kind, selection]

    @cached_property
    def _uses(self) -> dict[tuple[Kind, Selection], PluginUse]:
        return {}

    def _described_use(self, kind: Kind, selection: Selection) -> PluginUse:
        entry = self.catalogue.entry(kind, selection.name)
        return PluginUse(
            selector=str(selection),
            name=selection.name,
            params=plain(selection.params),
            distribution=entry.distribution,
            version=entry.version,
            source=self.plan.blueprint.source(kind, selection.name),
            uses=[self._use(of_kind, used) for of_kind, used in referred(selection.params)],
        )
