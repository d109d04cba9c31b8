"""Runs real cells through plan, engine and records, and keeps them for looking at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.catalogue import Catalogue, discover
from sparring.engine import SerialEngine
from sparring.journal import open_results
from sparring.plan import Plan, make_plan, split_cells
from sparring.record import Failed, NotApplicable, Record, Scored
from sparring.run import Run, Tally
from sparring.stage import Stage, StageName, WorkerSettings
from sparring.store import Artifact, Store
from sparring.suite import Evaluation, Splits, suite_from_selectors

SMALL_MLP = "mlp[epochs=30]"
DIGITS = "digits"
SPLITS = Splits(defender_clean=150)
EVALUATION = Evaluation(samples=100, trials=5, expectation=8, false_positive_rate=0.05)


@dataclass(frozen=True, eq=False)
class Board:
    """What became of some cells."""

    plan: Plan
    records: dict[str, Record]
    tally: Tally
    store: Store

    def record(self, part: str) -> Record:
        """The record of the one cell whose id has `part` in it."""
        found = [record for cell_id, record in self.records.items() if part in cell_id]
        assert len(found) == 1, f"{part!r} is in {len(found)} of {sorted(self.records)}"
        return found[0]

    def scored(self, part: str) -> Scored:
        outcome = self.record(part).outcome
        assert isinstance(outcome, Scored), outcome
        return outcome

    def failed(self, part: str) -> Failed:
        outcome = self.record(part).outcome
        assert isinstance(outcome, Failed), outcome
        return outcome

    def not_applicable(self, part: str) -> NotApplicable:
        outcome = self.record(part).outcome
        assert isinstance(outcome, NotApplicable), outcome
        return outcome

    def stages(self, part: str, name: StageName) -> list[Stage]:
        """The stages of that name which the cell goes through."""
        cell_id = self.record(part).cell.id
        return [s for s in self.plan.blueprint.chain(self.plan.goals[cell_id]) if s.name is name]

    def stage(self, part: str, name: StageName) -> Stage:
        (stage,) = self.stages(part, name)
        return stage

    def input(self, part: str, role: str) -> Artifact:
        """What the measure stage of the cell reads in that role."""
        return self.store.load(self.plan.goals[self.record(part).cell.id].inputs[role])

    def all_stages(self, name: StageName) -> list[Stage]:
        """The distinct stages of that name over all cells."""
        return [s for s in self.plan.stages_of(self.plan.applicable).values() if s.name is name]

    def artifact(self, part: str, name: StageName) -> Artifact:
        return self.store.load(self.stage(part, name).key)


@dataclass(frozen=True)
class CellBench:
    """Runs boards in one store, so that twins and victims are fitted once for all tests of a module."""

    catalogue: Catalogue
    folder: Path

    @classmethod
    def in_folder(cls, folder: Path) -> CellBench:
        return cls(discover(), folder)

    def run(
        self,
        victims: Sequence[str],
        attacks: Sequence[str],
        defences: Sequence[str] = ("none",),
        datasets: Sequence[str] = (DIGITS,),
        splits: Splits = SPLITS,
        evaluation: Evaluation = EVALUATION,
        **settings: Any,
    ) -> Board:
        """Every cell of the product, in this process."""
        suite = suite_from_selectors(
            self.catalogue,
            datasets=datasets,
            victims=victims,
            attacks=attacks,
            defences=defences,
            splits=splits,
            evaluation=evaluation,
            **settings,
        )
        plan = make_plan(suite, self.catalogue)
        store = self.folder / "store"
        with open_results(self.folder / suite.digest[:12]) as results:
            todo = split_cells(plan, plan.cells, results, fresh=True)
            run = Run(plan, todo, self.catalogue, results, WorkerSettings(store=store, device="cpu"))
            tally = run.go(SerialEngine(), lambda event, tally: None)
        return Board(plan, dict(results.by_cell), tally, Store(store))
