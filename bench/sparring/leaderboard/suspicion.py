"""Warnings that no cell shows alone: numbers that contradict each other, or what is known to be measured wrongly.

Each has an identifier, a sentence with its figures, and a reference. A comparison counts where the 95 % interval of the
paired difference leaves out 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sparring.leaderboard.difference import shift
from sparring.leaderboard.labels import split_attack
from sparring.leaderboard.table import Table, TableCell, split_knowledge
from sparring.record import Record, Samples, Scored, unpack_bits

ROBUST: Final = "robust-accuracy"
DETECTED: Final = "detection-tpr"
WRONG_BEFORE: Final = 0.2
"""Share of attacked images that may be misclassified before the attack without a warning."""
ROUNDING: Final = 1e-5
MASKED: Final = "gradients are masked, or the attack is broken (Athalye et al. 2018, section 3.1)"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is suspicious, and about which cells."""

    id: str
    message: str
    cells: tuple[TableCell, ...]


def suspicions(table: Table) -> list[Suspicion]:
    """All of one data set and victim."""
    evasions = [cell for cell in table.distinct if cell.evasion and cell.scored and ROBUST in cell.metrics]
    found = [each for check in _OF_EVASIONS for each in check(evasions)]
    return [
        *found,
        *_only_oblivious(table),
        *_randomised(table),
        *_few_repetitions(table),
        *(each for cell in table.distinct for each in _of_cell(cell)),
    ]


def _black_box_beats_white_box(cells: Sequence[TableCell]) -> Iterator[Suspicion]:
    for group in _of_one_budget(cells):
        white = min(filter(_white, group), key=_accuracy, default=None)
        for cell in filter(_black, group) if white is not None else ():
            assert white is not None
            lead = shift(cell, white, ROBUST)
            if lead is not None and lead.up:
                yield Suspicion(
                    "black-box-beats-white-box",
                    f"{_points(lead.mean)} more fall to {cell.attack}, without gradients, than to {white.attack}: "
                    f"{MASKED}",
                    (white, cell),
                )


def _noise_is_as_good(cells: Sequence[TableCell]) -> Iterator[Suspicion]:
    for group in _of_one_budget(cells):
        noise = min(filter(_blind, group), key=_accuracy, default=None)
        white = min(filter(_white, group), key=_accuracy, default=None)
        if noise is None or white is None:
            continue
        lead = shift(white, noise, ROBUST)
        if lead is not None and not lead.up:
            yield Suspicion(
                "noise-as-good",
                f"{white.attack} does no more harm than {noise.attack}, which asks the model nothing: {MASKED}",
                (white, noise),
            )


def _more_budget_does_less(cells: Sequence[TableCell]) -> Iterator[Suspicion]:
    for group in _groups(cells, lambda cell: (cell.defence, cell.threat.get("norm"), _but_epsilon(cell))):
        ordered = sorted((cell for cell in group if _epsilon(cell) is not None), key=lambda cell: _epsilon(cell) or 0.0)
        for less, more in pairwise(ordered):
            lead = shift(less, more, ROBUST)
            if lead is not None and lead.up:
                yield Suspicion(
                    "more-budget-does-less",
                    f"{_points(lead.mean)} fewer fall at epsilon {_epsilon(more):g} than at {_epsilon(less):g}: "
                    f"{MASKED}",
                    (less, more),
                )


def _unbounded_leaves_some(cells: Iterable[TableCell]) -> Iterator[Suspicion]:
    for cell in filter(_white, cells):
        classes = max((len(e.scored.confusion) for e in cell.entries if e.scored is not None), default=0)
        unbounded = cell.threat.get("norm") == "linf" and (_epsilon(cell) or 0.0) >= 1
        if unbounded and classes and _accuracy(cell) > 1.5 / classes:
            yield Suspicion(
                "unbounded-above-chance",
                f"{_accuracy(cell):.1%} survive {cell.attack}, which may make any image of any other: {MASKED}",
                (cell,),
            )


_OF_EVASIONS: Final[tuple[Callable[[Sequence[TableCell]], Iterator[Suspicion]], ...]] = (
    _black_box_beats_white_box,
    _noise_is_as_good,
    _more_budget_does_less,
    _unbounded_leaves_some,
)


def _only_oblivious(table: Table) -> Iterator[Suspicion]:
    ways: dict[str, dict[str, list[TableCell]]] = defaultdict(lambda: defaultdict(list))
    for cell in table.distinct:
        base, _, way = cell.defence.rpartition("@")
        if base and cell.scored and cell.evasion:
            ways[base][way].append(cell)
    for base, found in ways.items():
        if found["oblivious"] and not found["adaptive"]:
            yield Suspicion(
                "only-oblivious",
                f"no attack on {base} knows of it: that says nothing about attackers who do (Tramèr et al. 2020)",
                tuple(found["oblivious"]),
            )
    watched: dict[str, list[TableCell]] = defaultdict(list)
    for cell in table.distinct:
        if cell.scored and cell.evasion and DETECTED in cell.metrics:
            watched[cell.defence].append(cell)
    for defence, cells in watched.items():
        yield Suspicion(
            "only-oblivious",
            f"attacks are made against the model behind {defence}, and do not try to pass it unseen: that says nothing "
            "about attackers who do (Carlini & Wagner 2017, Adversarial examples are not easily detected)",
            tuple(cells),
        )


def _randomised(table: Table) -> Iterator[Suspicion]:
    """A query of a guard that says it is random is a mean over draws, and each counts: who knows of it pays a whole
    multiple of what the same attack pays that does not."""
    ways: dict[tuple[str, str], dict[str, TableCell]] = defaultdict(dict)
    for cell in table.distinct:
        base, _, way = cell.defence.rpartition("@")
        if base and cell.scored and cell.evasion:
            ways[base, cell.attack][way] = cell
    draws: dict[str, tuple[int, list[TableCell]]] = {}
    for (base, _), found in ways.items():
        if "adaptive" in found and (times := _multiple(found.get("oblivious"), found["adaptive"])) > 1:
            draws.setdefault(base, (times, []))[1].append(found["adaptive"])
    for base, (times, cells) in draws.items():
        yield Suspicion(
            "randomised-predictions",
            f"{base} answers at random: attackers who know of it averaged {times} draws a query, and its accuracy is "
            "that of one draw an image; see that more draws do no more harm (Athalye et al. 2018, section 4.2)",
            tuple(cells),
        )


def _multiple(oblivious: TableCell | None, adaptive: TableCell) -> int:
    """How many times as many queries the adaptive attack made, where that is a whole number of times; else 0."""
    if oblivious is None:
        return 0
    for kind in ("gradient-queries", "forward-queries"):
        less, more = _asked(oblivious, kind), _asked(adaptive, kind)
        if less > 0:
            times = round(more / less)
            return times if abs(more - times * less) <= ROUNDING * more else 0
    return 0


def _few_repetitions(table: Table) -> Iterator[Suspicion]:
    scored = [cell for cell in table.distinct if cell.scored]
    if len(scored) > 1 and all(cell.scored == 1 for cell in scored):
        yield Suspicion(
            "few-repetitions",
            "one repetition: no difference between these numbers has an interval, and no order is claimed",
            (scored[0],),
        )


def _of_cell(cell: TableCell) -> Iterator[Suspicion]:
    """What the records of one cell give away."""
    for check in (_already_wrong, _over_budget, _surrogate_is_victim):
        for entry in cell.entries:
            if entry.record is not None and entry.scored is not None and (said := check(entry.record, entry.scored)):
                yield Suspicion(said[0], said[1], (cell,))
                break


def _already_wrong(record: Record, scored: Scored) -> tuple[str, str] | None:
    if record.cell.when != "inference" or scored.samples is None or scored.samples.attacked_correct is None:
        return None
    wrong = _wrong(scored.samples)
    if wrong <= WRONG_BEFORE:
        return None
    return (
        "already-wrong",
        f"{wrong:.0%} of the attacked images were wrong before the attack and count as fallen: read robust accuracy "
        "beside clean accuracy (Carlini et al. 2019)",
    )


def _wrong(samples: Samples) -> float:
    try:
        return 1 - float(unpack_bits(samples.clean_correct, samples.count).mean()) if samples.count else 0.0
    except ValueError:
        return 0.0


def _over_budget(record: Record, scored: Scored) -> tuple[str, str] | None:
    threat, metrics = record.cell.threat, scored.metrics
    pairs = (
        (f"budget-{threat.get('norm')}-max", None if threat.get("budget") == "minimal" else threat.get("epsilon")),
        ("poisoned-fraction", threat.get("poison_fraction")),
    )
    for name, allowed in pairs:
        if isinstance(allowed, int | float) and metrics.get(name, 0.0) > allowed * (1 + ROUNDING) + ROUNDING:
            return "budget-exceeded", f"{name} is {metrics[name]:.4g}, allowed were {allowed:.4g}"
    return None


def _surrogate_is_victim(record: Record, scored: Scored) -> tuple[str, str] | None:
    victim = record.cell.victim.selector
    if victim not in {used.selector for used in record.cell.attack.uses}:
        return None
    return (
        "surrogate-is-victim",
        f"the surrogate is {victim}, as the victim is: between unlike models less transfers (Demontis et al. 2019)",
    )


def _groups(cells: Iterable[TableCell], key: Callable[[TableCell], object]) -> Iterable[list[TableCell]]:
    found: dict[object, list[TableCell]] = defaultdict(list)
    for cell in cells:
        found[key(cell)].append(cell)
    return found.values()


def _of_one_budget(cells: Iterable[TableCell]) -> Iterator[list[TableCell]]:
    """Cells that may do equal harm: of a guard those that know of it, and those that do not, each with the attacks that
    are the same either way, such as noise."""
    for group in _groups(cells, _budget):
        ways = dict.fromkeys(_way(cell) for cell in group if _way(cell))
        for way in ways or [""]:
            yield [cell for cell in group if _way(cell) in ("", way)]


def _way(cell: TableCell) -> str:
    return split_knowledge(cell.defence)[1]


def _budget(cell: TableCell) -> object:
    threat = cell.threat
    return cell.base, cell.goal, threat.get("norm"), _epsilon(cell)


def _epsilon(cell: TableCell) -> float | None:
    found = cell.threat.get("epsilon")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _but_epsilon(cell: TableCell) -> object:
    name, params = split_attack(cell.attack)
    return name, tuple(param for param in params if not param.startswith("eps="))


def _asked(cell: TableCell, kind: str) -> float:
    return cell.metrics[kind].mean if kind in cell.metrics else 0.0


def _white(cell: TableCell) -> bool:
    """Whether it followed the victim's gradients."""
    return _asked(cell, "gradient-queries") > 0


def _black(cell: TableCell) -> bool:
    return _asked(cell, "gradient-queries") == 0 and _asked(cell, "forward-queries") > 0


def _blind(cell: TableCell) -> bool:
    """Whether it asked the model nothing."""
    return _asked(cell, "gradient-queries") == 0 and _asked(cell, "forward-queries") == 0


def _accuracy(cell: TableCell) -> float:
    return cell.metrics[ROBUST].mean


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
