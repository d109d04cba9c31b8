"""The cross-product: the distinct cells of a suite, in the order of the suite."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from sparring.catalogue import VICTIM_OF_THE_CELL, Catalogue
from sparring.cell import Cell, Selection
from sparring.errors import BadInput
from sparring.exclusion import CellPattern
from sparring.threat import ThreatModel
from sparring.threat_params import fixed_by_declaration, knowledge_of_guard, threat_of_cell

if TYPE_CHECKING:
    from sparring.suite import Suite


def all_cells(suite: Suite, catalogue: Catalogue) -> list[Cell]:
    """The distinct cells before `exclude`. The repetition is the fastest index, the data set the slowest."""
    bouts = [
        (attack, defence, threat, fixed_by_declaration(catalogue.attack(attack.name)))
        for attack, inline in suite.attacks
        for defence in suite.defences
        for threat in _threats(suite, catalogue, attack, inline, defence)
    ]
    found: dict[Cell, None] = {}
    for dataset, victim in itertools.product(suite.datasets, suite.victims):
        for attack, defence, threat, usual in bouts:
            bound_attack, bound_defence = bind(attack, victim), bind(defence, victim)
            for repetition in range(suite.repetitions):
                cell = Cell(
                    dataset=dataset,
                    victim=victim,
                    attack=bound_attack,
                    defence=bound_defence,
                    threat=threat,
                    repetition=repetition,
                    usual=usual,
                )
                found.setdefault(cell)
    return list(found)


def expand(suite: Suite, catalogue: Catalogue) -> list[Cell]:
    """The cells that a suite asks for: `all_cells` without those that `exclude` names.

    Raises:
        BadInput: nothing is left; says which pattern left out how many.
    """
    left: list[Cell] = []
    excluded: Counter[CellPattern] = Counter()
    for cell in all_cells(suite, catalogue):
        pattern = next((p for p in suite.exclude if p.matches(cell)), None)
        if pattern is None:
            left.append(cell)
        else:
            excluded[pattern] += 1
    if not left:
        counts = "; ".join(f"'{pattern}' leaves out {count}" for pattern, count in excluded.most_common())
        raise BadInput(f"no cell is left to run: {counts or 'the product is empty'}", trail=("exclude",))
    return left


def _threats(
    suite: Suite, catalogue: Catalogue, attack: Selection, inline: ThreatModel, defence: Selection
) -> Iterator[ThreatModel]:
    spec, guard = catalogue.attack(attack.name), catalogue.defence(defence.name)
    for axis in suite.threats or (ThreatModel(),):
        threat = threat_of_cell(spec, inline, axis)
        for adaptive in knowledge_of_guard(spec, guard, inline, axis):
            yield replace(threat, adaptive=adaptive)


def bind(selection: Selection, victim: Selection) -> Selection:
    """`selection` with every reference to the victim of the cell itself replaced by `victim`."""
    params = selection.params
    if params is None:
        return selection
    values = {f.name: getattr(params, f.name) for f in fields(params)}
    changed = {name: bound for name, value in values.items() if (bound := _bound(value, victim)) != value}
    return replace(selection, params=replace(params, **changed)) if changed else selection


def _bound(value: Any, victim: Selection) -> Any:
    if isinstance(value, tuple):
        return tuple(_bound(part, victim) for part in value)
    if not isinstance(value, Selection):
        return value
    return victim if value == Selection(VICTIM_OF_THE_CELL) else bind(value, victim)
