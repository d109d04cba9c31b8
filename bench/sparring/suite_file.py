"""What may stand in a suite file: its shape, checked by pydantic and published as JSON Schema.

Which plugins and parameters there are is for the catalogue to say; `sparring.suite` puts both together.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from sparring.amounts import BYTES, SECONDS, amount
from sparring.errors import BadInput, Step, near_miss


def _seconds(value: Any) -> Any:
    return amount(value, SECONDS) if isinstance(value, str) else value


def _bytes(value: Any) -> Any:
    return int(amount(value, BYTES)) if isinstance(value, str) else value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Limits(_Part):
    """Limits of one stage."""

    seconds: Annotated[
        float | None,
        BeforeValidator(_seconds),
        WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]}),
        Field(gt=0, description="wall time: a number of seconds, or '90s', '5min', '1h'"),
    ] = None
    memory: Annotated[
        int | None,
        BeforeValidator(_bytes),
        WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]}),
        Field(gt=0, description="resident memory: a number of bytes, or '4GiB'"),
    ] = None


class Kept(StrEnum):
    """What may be kept beside the numbers, as files in `results/media`."""

    STATE = "state"  # what a poison consists of: marks, or the weights of its generator
    CURVES = "curves"  # learning curves of the poisoning and of the fit
    PROJECTION = "projection"  # training and test images in the first two principal components of the last hidden layer


class Splits(_Part):
    """Rows cut from the training set before anything is poisoned."""

    attacker_val: int = Field(default=0, ge=0, description="clean rows for the attacker")
    defender_clean: int = Field(default=0, ge=0, description="clean rows for the defender; detectors need some")


class Evaluation(_Part):
    """How a cell is evaluated."""

    samples: int = Field(default=512, ge=1, description="test images that are attacked at inference or triggered")
    trials: int = Field(default=8, ge=1, description="targets drawn for targeted poisoning")
    expectation: int = Field(default=10, ge=1, description="draws averaged by adaptive attacks on randomised guards")
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1, description="at which detectors are thresholded")
    keep: list[Annotated[Kept, Strict(False)]] = Field(
        default_factory=list, description="files beside the numbers of poisoned cells: state, curves, projection"
    )


Patterns = str | Annotated[list[str], Field(min_length=1)] | None
"""A glob over one part of a cell, or several of which one must fit."""


class ExcludedParts(_Part):
    """Excludes the cells whose parts fit all patterns; `*` and `?` are special."""

    dataset: Patterns = None
    victim: Patterns = None
    attack: Patterns = None
    defence: Patterns = None


class PaperValue(_Part):
    """One number of a paper, and the cells that it is compared with; `*` and `?` are special in the patterns."""

    dataset: str = "*"
    victim: str = "*"
    attack: str = "*"
    defence: str = "none"
    value: float = Field(description="as printed: in percent, or in the metric's unit")
    std: float | None = Field(default=None, ge=0, description="the deviation, where the paper prints one")
    name: str = Field(default="", description="what the paper calls it")
    note: str = Field(default="", description="on this line alone: what it waits for, say")


class PaperTable(_Part):
    """A table of a paper, shown beside our numbers. Nothing that is run depends on it."""

    source: str = Field(min_length=1, description="author, year, table")
    metric: str = Field(default="clean-accuracy", description="the one of ours that it is about")
    error: bool = Field(default=False, description="the paper prints 1 - metric")
    reading: str = Field(default="", description="how we read what the paper leaves open")
    values: Annotated[list[PaperValue], Field(min_length=1)]


PluginEntry = str | dict[str, dict[str, Any] | None]
"""`pgd`, `pgd[steps=20]`, or `pgd: {steps: 20}`."""
Several = Annotated[list[PluginEntry], Field(min_length=1)]


class SuiteFile(_Part):
    """A board's suite: what is run. Lists of plugins are crossed; a list for a parameter is swept."""

    model_config = ConfigDict(title="sparring suite")

    name: str | None = Field(default=None, min_length=1, description="by default that of the folder")
    title: str = Field(default="", description="heading of the leaderboard")
    description: str = Field(default="", description="shown under the heading")
    seed: int = Field(default=0, ge=0, description="root seed")
    repetitions: int = Field(default=1, ge=1, description="each with its own poison, fit and evaluation seeds")
    coverage: float = Field(
        default=1.0, gt=0, le=1, description="share of cells that must have a number or a reason to be published"
    )
    datasets: Several
    victims: Several
    attacks: Several
    defences: Several
    threats: list[dict[str, Any]] = Field(
        default_factory=list,
        description="partial threat models, crossed with the attacks: `{norm: linf, epsilon: 8/255}`",
    )
    metrics: list[str] = Field(default_factory=list, description="names; by default all that need not be named")
    limits: Limits = Limits()
    splits: Splits = Splits()
    evaluation: Evaluation = Evaluation()
    papers: list[PaperTable] = Field(default_factory=list, description="numbers of papers, shown beside ours")
    controls: list[str] = Field(
        default_factory=list, description="attacks and defences that are shown, but do not compete: oracles, say"
    )
    exclude: list[str | ExcludedParts] = Field(
        default_factory=list, description="globs over `dataset/victim/attack/defence/rN`, or over parts of it"
    )


def suite_schema() -> dict[str, Any]:
    """The JSON Schema of a suite file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SuiteFile.model_json_schema()}


def checked(raw: Any) -> SuiteFile:
    """The content of a suite file, with its shape checked.

    Raises:
        BadInput: the first thing that is wrong, in the order of the schema; its trail leads there.
    """
    if not isinstance(raw, dict):
        kinds = {type(None): "the file is empty", list: "this is a list"}
        found = kinds.get(type(raw), "this is a single value")
        raise BadInput(f"{found}; a suite is a mapping with the keys datasets, victims, attacks and defences")
    try:
        return SuiteFile.model_validate(raw)
    except ValidationError as error:
        raise _worst(error) from error


def _worst(error: ValidationError) -> BadInput:
    # a misspelt key is what explains the missing one
    found = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    detail = found[0]
    trail = _trail(detail)
    where = str(next(step for step in reversed(trail) if isinstance(step, str)))
    if detail["type"] == "extra_forbidden":
        known = _keys_at(trail[:-1])
        return BadInput(f"unknown key {trail[-1]!r}{near_miss(str(trail[-1]), known)}", trail=trail)
    if detail["type"] == "missing":
        return BadInput(f"the key {where!r} is missing", trail=trail[:-1])
    if detail["type"] == "too_short":
        return BadInput(f"{where} is an empty list", trail=trail)
    if trail[0] in {"datasets", "victims", "attacks", "defences"} and len(trail) > 1:
        return BadInput("each entry is 'name', 'name[param=value]' or 'name: {param: value}'", trail=trail[:2])
    if trail[0] == "exclude" and len(trail) > 1:
        return BadInput(
            "each entry is a pattern, or a mapping of dataset, victim, attack, defence to one or several patterns",
            trail=trail[:2],
        )
    if detail["type"] == "too_short":
        return BadInput(f"{where} is empty; name at least one", trail=trail)
    cause = detail.get("ctx", {}).get("error")
    sentence = str(cause) if cause is not None else detail["msg"].removeprefix("Input ")
    return BadInput(f"{where} {sentence}, not {detail['input']!r}", trail=trail)


def _trail(detail: ErrorDetails) -> tuple[Step, ...]:
    """Where it is in the file: pydantic's location without the names of the union's members."""
    members = {"str", "ExcludedParts"} | {step for step in detail["loc"] if isinstance(step, str) and "[" in step}
    return tuple(step for step in detail["loc"] if step not in members)


def _keys_at(trail: tuple[Step, ...]) -> Iterator[str]:
    model: Any = SuiteFile
    for step in trail:
        if isinstance(step, str) and step in model.model_fields:
            annotation = model.model_fields[step].annotation
            inner = [part for part in (annotation, *_inside(annotation)) if _is_part(part)]
            model = inner[0] if inner else model
    yield from model.model_fields


def _inside(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        yield part
        yield from _inside(part)


def _is_part(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, _Part)
