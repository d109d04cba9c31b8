"""What a run would do: cells, reasons against them, distinct stages, what is recorded, and how long it may take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.applicability import reasons
from sparring.blueprint import Blueprint
from sparring.cell import Cell
from sparring.errors import BadInput, near_miss
from sparring.exclusion import glob_match
from sparring.stage import DOERS, Stage, StageName
from sparring.suite import Suite, expand
from sparring.uncollected import uncollected

if TYPE_CHECKING:
    from sparring.catalogue import Catalogue
    from sparring.journal import Results


@dataclass(frozen=True, eq=False)
class Plan:
    """The cells of a suite and their stages.

    Attributes:
        suite: the suite.
        cells: all cells, in order.
        objections: reasons by the id of each cell that is not applicable.
        goals: last stage by the id of each applicable cell.
        blueprint: holds every stage.
    """

    suite: Suite
    cells: Sequence[Cell]
    objections: Mapping[str, tuple[str, ...]]
    goals: Mapping[str, Stage]
    blueprint: Blueprint

    @property
    def applicable(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.id in self.goals]

    def matching(self, pattern: str | None) -> list[Cell]:
        """The cells whose id matches a glob (`*` and `?`; all else literal); a part of an id matches too.

        Raises:
            BadInput: no cell matches.
        """
        if pattern is None:
            return list(self.cells)
        chosen = [cell for cell in self.cells if matches(pattern, cell.id)]
        if not chosen:
            hint = near_miss(pattern, [cell.id for cell in self.cells])
            raise BadInput(f"no cell matches '{pattern}'{hint} (cells look like {self.cells[0].id})")
        return chosen

    def stages_of(self, cells: Iterable[Cell]) -> dict[str, Stage]:
        """Distinct stages that the applicable ones of `cells` need."""
        found: dict[str, Stage] = {}
        for cell in cells:
            if cell.id in self.goals:
                found |= {stage.key: stage for stage in self.blueprint.chain(self.goals[cell.id])}
        return found


def matches(pattern: str, text: str) -> bool:
    """Whether a glob (only `*` and `?` are special) fits the whole text, or a run of its parts between slashes."""
    return any(glob_match(f"{before}{pattern}{after}", text) for before in ("", "*/") for after in ("", "/*"))


def make_plan(suite: Suite, catalogue: Catalogue, versions: Mapping[str, str] | None = None) -> Plan:
    """Expand a suite into cells and stages. Runs nothing.

    Args:
        suite: a validated suite.
        catalogue: where plugins come from.
        versions: library versions to make part of every key.

    Raises:
        BadInput: no cell is left to run; says why, with the reasons counted.
    """
    blueprint = Blueprint(suite, catalogue, versions)
    objections: dict[str, tuple[str, ...]] = {}
    goals: dict[str, Stage] = {}
    with uncollected():
        cells = expand(suite, catalogue)
        for cell in cells:
            if against := reasons(cell, catalogue):
                objections[cell.id] = against
            else:
                goals[cell.id] = blueprint.goal(cell)
    if not goals:
        counted = Counter(reason for against in objections.values() for reason in against)
        listed = "; ".join(f"{reason} ({count} of {len(cells)})" for reason, count in counted.most_common())
        raise BadInput(f"no cell is applicable: {listed}")
    return Plan(suite=suite, cells=cells, objections=objections, goals=goals, blueprint=blueprint)


@dataclass(frozen=True)
class Split:
    """The chosen cells of a plan, by what has to be done.

    Attributes:
        recorded: have a finished record with the right key.
        to_run: have not.
        not_applicable: make no sense.
    """

    recorded: list[Cell]
    to_run: list[Cell]
    not_applicable: list[Cell]


def split_cells(plan: Plan, cells: Sequence[Cell], results: Results, *, fresh: bool) -> Split:
    """Sort cells by whether `results` already hold a scored record under the right key. Failures are tried again."""
    recorded, to_run, never = [], [], []
    for cell in cells:
        if cell.id in plan.objections:
            never.append(cell)
        elif not fresh and _is_recorded(cell, plan.goals[cell.id].key, results):
            recorded.append(cell)
        else:
            to_run.append(cell)
    return Split(recorded, to_run, never)


def outdated(plan: Plan, results: Results) -> list[Cell]:
    """Applicable cells whose record was made with other code, parameters, data or seeds than the plan's."""
    found = ((cell, results.by_cell.get(cell.id)) for cell in plan.applicable)
    return [cell for cell, record in found if record is not None and record.key != plan.goals[cell.id].key]


def _is_recorded(cell: Cell, key: str, results: Results) -> bool:
    record = results.by_cell.get(cell.id)
    return record is not None and record.key == key and record.outcome.state == "scored"


def _doer(name: str) -> str:
    """The role of the plugin that a stage's duration mostly depends on; "" for none, and for unknown stages."""
    roles = DOERS[StageName(name)] if name in set(StageName) else ()
    return roles[0] if roles else ""


def estimate_seconds(plan: Plan, stages: Mapping[str, Stage], results: Results) -> tuple[float, int]:
    """(CPU seconds that `stages` may take, stages among them that no earlier record says anything about).

    A stage counts as the mean of earlier stages of the same name by the same plugin.
    """
    seen: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in results.by_cell.values():
        names = {"dataset": record.cell.dataset, "victim": record.cell.victim}
        names |= {"attack": record.cell.attack, "defence": record.cell.defence}
        for stage_name, seconds in record.seconds.items():
            role = _doer(stage_name)
            seen[stage_name, names[role].name if role else ""].append(seconds)
    total, unknown = 0.0, 0
    for stage in stages.values():
        role = _doer(stage.name)
        history = seen.get((stage.name, stage.plugins[role].selection.name if role in stage.plugins else ""))
        if history:
            total += sum(history) / len(history)
        else:
            unknown += 1
    return total, unknown
