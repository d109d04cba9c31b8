"""What makes no sense for a victim, said in one sentence and not as rows of dashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sparring.leaderboard.labels import Split, joined
from sparring.leaderboard.table import Column, Table, TableCell


@dataclass(frozen=True, slots=True)
class Applicable:
    """The rows and columns of a table that hold anything but "not applicable", and a sentence about the others ("" when
    there are none)."""

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    omitted: str


def applicable(table: Table) -> Applicable:
    """`table` without what is not applicable throughout."""
    by_attack: dict[str, list[TableCell]] = defaultdict(list)
    by_base: dict[str, list[TableCell]] = defaultdict(list)
    for cell in table.distinct:
        by_attack[cell.attack].append(cell)
        by_base[cell.base].append(cell)
    attacks = [row for row in table.rows if _senseless(by_attack[row])]
    bases = [base for base in table.bases if _senseless(by_base[base])]
    reasons = {
        **_reasons(attacks, table.rows, by_attack, table.names.attack_parts),
        **_reasons(bases, table.bases, by_base, table.names.plugin_parts),
    }
    return Applicable(
        tuple(row for row in table.rows if row not in attacks),
        tuple(column for column in table.columns if column.base not in bases),
        _sentence(table.names.plugin(table.victim), reasons),
    )


def _senseless(cells: Sequence[TableCell]) -> bool:
    return bool(cells) and all(cell.not_applicable for cell in cells)


def _reasons(
    omitted: Sequence[str],
    every: Sequence[str],
    cells: dict[str, list[TableCell]],
    split: Callable[[str], Split],
) -> dict[str, str]:
    """Name -> why. One name stands for all its parameters where none of them is applicable."""
    kept = {split(label)[0] for label in every if label not in omitted}
    found = {}
    for label in omitted:
        name, params = split(label)
        shown = joined((name, params)) if name in kept else name
        found[shown] = "; ".join(reason.removeprefix(f"{name} ") for reason in _common(cells[label]))
    return found


def _common(cells: Iterable[TableCell]) -> list[str]:
    """The reasons that all cells share; where they share none, each reason once."""
    said = [dict.fromkeys(reason for entry in cell.entries for reason in entry.said) for cell in cells]
    shared = [reason for reason in said[0] if all(reason in others for others in said)]
    return shared or list(dict.fromkeys(reason for reasons in said for reason in reasons))


def _sentence(victim: str, reasons: dict[str, str]) -> str:
    """ "Not applicable to random-forest: fgsm, pgd (need gradients; random-forest offers scores); jpeg (...)." """
    groups: dict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        groups[reason].append(name)
    if not groups:
        return ""
    parts, offered = [], set()
    for reason, names in groups.items():
        why, _, offer = reason.partition("; ")
        told = why if offer in offered else reason  # what the victim offers is said once
        offered.add(offer)
        if len(names) > 1 and told.startswith("needs "):
            told = "need " + told.removeprefix("needs ")
        parts.append(f"{', '.join(names)} ({told})")
    return f"Not applicable to {victim}: {'; '.join(parts)}."
