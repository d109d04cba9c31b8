"""A board's suite: read from a file or from selectors, checked against the catalogue, expanded into cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sparring.catalogue import Catalogue
from sparring.cell import Selection
from sparring.errors import BadInput, inside, near_miss
from sparring.exclusion import PARTS, CellPattern, glob_match
from sparring.keys import digest_of
from sparring.located_yaml import read_yaml
from sparring.plugin import Act, Kind
from sparring.product import all_cells, expand
from sparring.suite_file import Evaluation, Limits, PaperTable, Splits, SuiteFile, checked, suite_schema
from sparring.threat import ThreatModel
from sparring.threat_params import threat_models

__all__ = [
    "Evaluation",
    "Limits",
    "Splits",
    "Suite",
    "all_cells",
    "expand",
    "load_suite",
    "suite_from_selectors",
    "suite_schema",
]


class Suite(BaseModel):
    """What a board runs, with every plugin resolved and every swept parameter spelt out.

    Attributes:
        attacks: each with the part of the threat model that was stated beside its parameters.
        threats: the threat axis, partial; `(ThreatModel(),)` when the suite states none.
        metrics: names; empty: all that need not be named, and apply.
        controls: patterns over attacks and defences that do not compete for the best.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    title: str = ""
    description: str = ""
    seed: int = 0
    repetitions: int = 1
    coverage: float = 1.0
    datasets: tuple[Selection, ...]
    victims: tuple[Selection, ...]
    attacks: tuple[tuple[Selection, ThreatModel], ...]
    defences: tuple[Selection, ...]
    threats: tuple[ThreatModel, ...] = (ThreatModel(),)
    metrics: tuple[str, ...] = ()
    limits: Limits = Limits()
    splits: Splits = Splits()
    evaluation: Evaluation = Evaluation()
    exclude: tuple[CellPattern, ...] = ()
    papers: tuple[PaperTable, ...] = ()
    controls: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that is run: 64 hexadecimal digits. Title, description, papers, controls and coverage
        do not count."""
        content = {
            "name": self.name,
            "seed": self.seed,
            "repetitions": self.repetitions,
            **{axis: getattr(self, axis) for axis in ("datasets", "victims", "attacks", "defences", "threats")},
            "metrics": list(self.metrics),
            **{part: getattr(self, part).model_dump() for part in ("limits", "splits", "evaluation")},
            "exclude": [str(pattern) for pattern in self.exclude],
        }
        return digest_of(content)


def load_suite(path: Path, catalogue: Catalogue) -> Suite:
    """Read a suite file, or `suite.yaml` in a board's folder.

    Raises:
        BadInput: what is wrong, with file, line, key and near miss.
    """
    file = path / "suite.yaml" if path.is_dir() else path
    if not file.is_file():
        raise BadInput("there is no such suite file", file=file)
    content = read_yaml(file)
    try:
        return _suite(checked(content.value), _default_name(file), catalogue, file.parent)
    except BadInput as error:
        raise content.locate(error) from error.__cause__


def suite_from_selectors(
    catalogue: Catalogue,
    *,
    datasets: Sequence[str],
    victims: Sequence[str],
    attacks: Sequence[str] = ("none",),
    defences: Sequence[str] = ("none",),
    threats: Sequence[Mapping[str, Any]] = (),
    metrics: Sequence[str] = (),
    exclude: Sequence[str] = (),
    seed: int = 0,
    repetitions: int = 1,
    limits: Limits | None = None,
    splits: Splits | None = None,
    evaluation: Evaluation | None = None,
    name: str = "selected",
) -> Suite:
    """The suite that a command line spells out, checked like a file.

    Raises:
        BadInput: without a file or a line.
    """
    raw: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "repetitions": repetitions,
        "datasets": list(datasets),
        "victims": list(victims),
        "attacks": list(attacks),
        "defences": list(defences),
        "threats": [dict(threat) for threat in threats],
        "metrics": list(metrics),
        "exclude": list(exclude),
    }
    parts = {"limits": limits, "splits": splits, "evaluation": evaluation}
    raw |= {key: part for key, part in parts.items() if part is not None}
    return _suite(checked(raw), name, catalogue, Path())


def _default_name(file: Path) -> str:
    resolved = file.resolve()
    return resolved.parent.name if resolved.name == "suite.yaml" else resolved.stem


def _suite(content: SuiteFile, default_name: str, catalogue: Catalogue, folder: Path) -> Suite:
    suite = Suite(
        name=content.name or default_name,
        title=content.title,
        description=content.description,
        seed=content.seed,
        repetitions=content.repetitions,
        coverage=content.coverage,
        datasets=_each("datasets", content.datasets, lambda raw: catalogue.resolve(Kind.DATASET, raw, folder)),
        victims=_each("victims", content.victims, lambda raw: catalogue.resolve(Kind.VICTIM, raw, folder)),
        attacks=_each("attacks", content.attacks, lambda raw: catalogue.resolve_attack(raw, folder)),
        defences=_each("defences", content.defences, lambda raw: catalogue.resolve(Kind.DEFENCE, raw, folder)),
        threats=_each("threats", content.threats, lambda raw: threat_models(raw, "the threat model"))
        or (ThreatModel(),),
        metrics=_each("metrics", content.metrics, lambda raw: (catalogue.metric(raw).name,)),
        limits=content.limits,
        splits=content.splits,
        evaluation=content.evaluation,
        exclude=tuple(_pattern(raw) for raw in content.exclude),
        papers=tuple(content.papers),
        controls=tuple(content.controls),
    )
    _check_clean_rows(suite, catalogue)
    for number, paper in enumerate(suite.papers):
        with inside("papers", number, "metric"):
            catalogue.metric(paper.metric)
    _check_controls(suite)
    return suite


def _check_controls(suite: Suite) -> None:
    there = {selection.name for selection in (*(attack for attack, _ in suite.attacks), *suite.defences)}
    for number, pattern in enumerate(suite.controls):
        if not any(glob_match(pattern.partition("[")[0], name) for name in there):
            with inside("controls", number):
                raise BadInput(f"no attack or defence of the suite is like '{pattern}'{near_miss(pattern, there)}")


def _each(axis: str, entries: Sequence[Any], resolve: Callable[[Any], Sequence[Any]]) -> tuple[Any, ...]:
    """What all entries of an axis stand for, in order, each once."""
    found: dict[Any, None] = {}
    for position, raw in enumerate(entries):
        with inside(axis, position):
            found |= dict.fromkeys(resolve(raw))
    return tuple(found)


def _pattern(raw: Any) -> CellPattern:
    if isinstance(raw, str):
        return CellPattern(id=raw)
    stated = ((part, getattr(raw, part)) for part in PARTS)
    return CellPattern(
        parts=tuple(
            (part, (text,) if isinstance(text, str) else tuple(text)) for part, text in stated if text is not None
        )
    )


def _check_clean_rows(suite: Suite, catalogue: Catalogue) -> None:
    detectors = [d.name for d in suite.defences if Act.DETECT in catalogue.defence(d.name).acts]
    if detectors and suite.splits.defender_clean == 0:
        message = f"{detectors[0]} is calibrated on clean rows; set defender_clean under splits"
        raise BadInput(message, trail=("defences",))
