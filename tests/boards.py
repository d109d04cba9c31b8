"""Small boards run in this process, stage by stage, without an engine: for tests about numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparring.catalogue import Catalogue, discover
from sparring.execution import execute
from sparring.plan import Plan, make_plan
from sparring.stage import WorkerSettings
from sparring.suite import Evaluation, Splits, suite_from_selectors


def planned(
    datasets: Sequence[str],
    victims: Sequence[str],
    attacks: Sequence[str] = ("none",),
    defences: Sequence[str] = ("none",),
    *,
    repetitions: int = 1,
    evaluation: Evaluation | None = None,
    splits: Splits | None = None,
    catalogue: Catalogue | None = None,
) -> Plan:
    """The plan of a product of selectors."""
    catalogue = catalogue or discover()
    suite = suite_from_selectors(
        catalogue,
        datasets=datasets,
        victims=victims,
        attacks=attacks,
        defences=defences,
        repetitions=repetitions,
        evaluation=evaluation,
        splits=splits,
    )
    return make_plan(suite, catalogue)


def scored(plan: Plan, store: Path) -> dict[str, Mapping[str, Any]]:
    """The `Scored` part of every applicable cell's record, by cell id."""
    settings = WorkerSettings(store=store)
    found = {}
    for cell in plan.applicable:
        for stage in plan.blueprint.chain(plan.goals[cell.id]):
            done = execute(stage, settings, lambda done, total, note: None)
        assert done.value is not None
        found[cell.id] = done.value["scored"]
    return found


def metrics(plan: Plan, store: Path) -> dict[str, Mapping[str, float]]:
    """The metrics of every applicable cell, by cell id."""
    return {name: outcome["metrics"] for name, outcome in scored(plan, store).items()}
