"""Transfer: attacks that were made on one model, used against others. Surrogates are rows, victims are columns.

A record says which plugins its attack's parameters refer to; labels leave out what is a parameter's default.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sparring.leaderboard.labels import joined, split_attack
from sparring.leaderboard.table import Board, TableCell
from sparring.record import CellRecord

SURROGATE: Final = "surrogate"
"""The parameter of an attack that names the model it is made on."""
INNER: Final = "attack"
"""The one that names how."""


@dataclass(frozen=True, slots=True)
class TransferMatrix:
    """One attack, on one data set and with one defence.

    Attributes:
        attack: its label without the surrogate.
        surrogates, victims: selectors, in the order of the board's victims.
        cells: by (surrogate, victim).
        untouched: by victim, the cell without an attack, where there is one.
        direct: by victim, the same attack made on the victim itself, where the board has it.
    """

    dataset: str
    attack: str
    defence: str
    surrogates: tuple[str, ...]
    victims: tuple[str, ...]
    cells: Mapping[tuple[str, str], TableCell]
    untouched: Mapping[str, TableCell]
    direct: Mapping[str, TableCell]


def transfer_matrices(board: Board) -> list[TransferMatrix]:
    """In the order of the board."""
    groups: dict[tuple[str, str, str], dict[tuple[str, str], TableCell]] = defaultdict(dict)
    for cell in board.cells:
        if (record := _recorded(cell)) is not None and (surrogate := _used(record, SURROGATE)):
            groups[cell.dataset, _without_surrogate(cell.attack), cell.defence][surrogate, cell.victim] = cell
    return [_matrix(board, *group, cells) for group, cells in groups.items()]


def _matrix(
    board: Board, dataset: str, attack: str, defence: str, cells: Mapping[tuple[str, str], TableCell]
) -> TransferMatrix:
    victims = tuple(dict.fromkeys(victim for _, victim in cells))
    surrogates = {surrogate for surrogate, _ in cells}
    order = {victim: i for i, victim in enumerate(victims)}  # what is both stands on the diagonal
    some = next(iter(cells.values()))
    near = [cell for cell in board.cells if cell.dataset == dataset and cell.base == some.base]
    return TransferMatrix(
        dataset=dataset,
        attack=attack,
        defence=defence,
        surrogates=tuple(sorted(surrogates, key=lambda label: (order.get(label, len(order)), label))),
        victims=victims,
        cells=cells,
        untouched={cell.victim: cell for cell in near if cell.attack == "none"},
        direct={cell.victim: cell for cell in near if _is_direct(cell, some)},
    )


def _is_direct(cell: TableCell, transferred: TableCell) -> bool:
    """Whether it is the attack that was transferred, made on its own victim: of an adaptive and an oblivious one the
    adaptive."""
    one, two = _recorded(cell), _recorded(transferred)
    if one is None or two is None or cell.defence.endswith("@oblivious"):
        return False
    allowed = [tuple(c.threat.get(name) for name in ("goal", "norm", "epsilon", "budget")) for c in (cell, transferred)]
    return one.attack.selector == _used(two, INNER) and allowed[0] == allowed[1]


def _recorded(cell: TableCell) -> CellRecord | None:
    return next((entry.record.cell for entry in cell.entries if entry.record is not None), None)


def _used(cell: CellRecord, parameter: str) -> str:
    """The selector of the plugin that a parameter of the attack names; "" where it names none."""
    named = cell.attack.params.get(parameter)
    if not isinstance(named, dict):
        return ""
    fits = [use.selector for use in cell.attack.uses if use.name == named.get("name")]
    exact = [
        use.selector for use in cell.attack.uses if use.name == named.get("name") and use.params == named.get("params")
    ]
    return next(iter([*exact, *fits]), "")


def _without_surrogate(label: str) -> str:
    name, settings = split_attack(label)
    return joined((name, tuple(setting for setting in settings if not setting.startswith(f"{SURROGATE}="))))
