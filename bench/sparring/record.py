"""The versioned result schema: one record per cell, one JSON line per record.

Everything that is compared stands in `outcome`; times and provenance stand apart. Published as JSON Schema by
`sparring schema record`.
"""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from sparring.stage import FailureKind

SCHEMA_VERSION: Final = 3
"""What is written. It rises whenever readers of the version before would refuse a line; every version is still read.

2: `source` and `uses` of plugins, and `Provenance.metrics`. Lines of version 1 say nothing of them, and are written
back as they were read. 3: `Scored.media`.
"""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _without(told: dict[str, Any], *names: str) -> dict[str, Any]:
    """`told` without those of the named fields that say nothing."""
    return {name: value for name, value in told.items() if value or name not in names}


class PluginUse(_Frozen):
    """A plugin as a cell used it: the selector as written, and all parameters with their values."""

    selector: str
    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    distribution: str = ""
    version: str = ""
    source: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{16}$",
        description="first 16 hexadecimal digits of the digest of the code that the plugin may run, as content keys "
        "cover it: its modules and what they use of the core; absent: not known",
    )
    uses: list[PluginUse] = Field(
        default_factory=list, description="plugins that the parameters refer to, a surrogate say; absent: none"
    )

    @model_serializer(mode="wrap")
    def _unknown_is_absent(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(fields_of(self), "source", "uses")


class CellRecord(_Frozen):
    """The cell that a record is about."""

    id: str = Field(description="dataset/victim/attack/defence/rN, unique within a board")
    dataset: PluginUse
    victim: PluginUse
    attack: PluginUse
    defence: PluginUse
    threat: dict[str, Any] = Field(description="the stated fields of the threat model, after defaults")
    when: str = Field(description="never, training or inference: when the attack acts")
    guarded: bool = Field(default=False, description="whether the defence puts a guard in front of the model")
    attack_label: str = Field(description="attack with threat fields, without adaptive: the row of a table")
    defence_label: str = Field(description="defence, with @adaptive or @oblivious: the column of a table")
    repetition: int = Field(ge=0)

    @field_validator("threat")
    @classmethod
    def _plain_scalars(cls, threat: dict[str, Any]) -> dict[str, Any]:
        for name, value in threat.items():
            number = isinstance(value, int | float) and abs(value) < 2**53  # false for NaN
            if not (number or isinstance(value, str)):
                raise ValueError(f"{name} is neither text, truth value nor finite number")
        return threat


class Samples(_Frozen):
    """Per-sample outcomes, packed; sample i of each array is row i of `indices`.

    The lengths are checked against each other on reading, so that a hostile record cannot make a reader allocate
    more than the record itself holds.
    """

    indices: str = Field(description="rows of the test set, as ranges: '0-9,12,20-29'")
    clean_correct: str = Field(description="base64 of packed bits (numpy.packbits): right before the attack")
    attacked_correct: str | None = Field(default=None, description="the same after the attack")
    distortion: str | None = Field(
        default=None, description="base64 of little-endian float16: distance in the threat model's norm (L2 if none)"
    )

    @property
    def count(self) -> int:
        """How many samples there are."""
        return _count(self.indices)

    @model_validator(mode="after")
    def _lengths_agree(self) -> Samples:
        count = self.count
        sizes = {"clean_correct": -(-count // 8), "attacked_correct": -(-count // 8), "distortion": 2 * count}
        for name, size in sizes.items():
            text = getattr(self, name)
            if text is not None and 3 * len(text) // 4 - (len(text) - len(text.rstrip("="))) != size:
                raise ValueError(f"{name} does not hold {count} samples")
        return self


class Warned(_Frozen):
    """An automatic warning: an identifier and a sentence."""

    id: str
    message: str


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[a-z][a-z-]*$")]


class Scored(_Frozen):
    """The cell was measured."""

    state: Literal["scored"] = "scored"
    metrics: dict[str, float] = Field(description="each metric that applies, by name; fractions in [0, 1]")
    confusion: list[list[int]] = Field(description="rows: true class; columns: predicted class; on the attacked inputs")
    samples: Samples | None = None
    warnings: list[Warned] = Field(default_factory=list)
    trials: list[int] | None = Field(default=None, description="[succeeded, all] of a targeted poisoning attack")
    media: dict[Name, Digest] = Field(
        default_factory=dict,
        description="kind -> SHA-256: what is kept beside the numbers, results/media/<SHA-256>.safetensors; "
        "absent: nothing",
    )

    @model_serializer(mode="wrap")
    def _nothing_is_absent(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(fields_of(self), "media")

    @model_validator(mode="after")
    def _consistent(self) -> Scored:
        if any(len(row) != len(self.confusion) or min(row) < 0 for row in self.confusion):
            raise ValueError("confusion is not a square matrix of counts")
        if self.trials is not None and not (len(self.trials) == 2 and 0 <= self.trials[0] <= self.trials[1]):
            raise ValueError("trials is not [succeeded, all]")
        return self


class NotApplicable(_Frozen):
    """The cell makes no sense; each reason comes from needs and offers, or from a cited objection."""

    state: Literal["not applicable"] = "not applicable"
    reasons: list[str] = Field(min_length=1)


class Failed(_Frozen):
    """The cell could not be measured."""

    state: Literal["failed"] = "failed"
    kind: FailureKind
    stage: str
    error: str
    traceback: str = ""


Outcome = Annotated[Scored | NotApplicable | Failed, Field(discriminator="state")]


class Provenance(_Frozen):
    """Where a number comes from; not compared."""

    suite_digest: str
    root_seed: int
    sparring: str
    python: str
    platform: str
    cpu: str
    device: str
    threads: int
    versions: dict[str, str] = Field(default_factory=dict, description="library name -> version")
    commit: str | None = Field(default=None, description="git commit of the working folder, + where it was changed")
    metrics: dict[str, str] = Field(
        default_factory=dict,
        description="'distribution version' -> digest of the sources of its metrics that were measured; "
        "absent: not known",
    )

    @model_serializer(mode="wrap")
    def _unknown_is_absent(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(fields_of(self), "metrics")


class Record(_Frozen):
    """One line of `results/*.jsonl`."""

    schema_version: Literal[1, 2, 3] = SCHEMA_VERSION
    key: str = Field(pattern="^[0-9a-f]{64}$", description="content key of everything the outcome depends on")
    cell: CellRecord
    outcome: Outcome
    seconds: dict[str, float] = Field(
        default_factory=dict, description="wall seconds of each stage this cell went through, shared ones included"
    )
    provenance: Provenance

    def same_result(self, other: Record) -> bool:
        """Whether both say the same about the same cell: times, provenance and spelling of parameters aside."""
        return (self.key, self.cell.id, self.outcome) == (other.key, other.cell.id, other.outcome)


def pack_bits(flags: NDArray[np.bool_]) -> str:
    """(N,) bool to base64."""
    return base64.b64encode(np.packbits(flags).tobytes()).decode()


def unpack_bits(text: str, count: int) -> NDArray[np.bool_]:
    """Base64 to (count,) bool.

    Raises:
        ValueError: the text is not base64, or holds fewer than `count` bits.
    """
    raw = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    bits = np.unpackbits(raw)
    if len(bits) < count:
        raise ValueError(f"{len(bits)} packed outcomes for {count} samples")
    return bits[:count].astype(bool)


def pack_halves(values: NDArray[np.floating]) -> str:
    """(N,) floats to base64 of little-endian float16."""
    return base64.b64encode(values.astype("<f2").tobytes()).decode()


def ranges(rows: NDArray[np.integer]) -> str:
    """Sorted row numbers as '0-9,12'."""
    if len(rows) == 0:
        return ""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    runs = np.split(np.asarray(rows), cuts)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def from_ranges(text: str) -> NDArray[np.int64]:
    """The row numbers that `ranges` wrote."""
    parts = [part.partition("-") for part in text.split(",") if part]
    runs = [np.arange(int(a), int(b or a) + 1, dtype=np.int64) for a, _, b in parts]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def _count(text: str) -> int:
    """How many rows `ranges` wrote, without making them."""
    runs = [re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?", part, re.ASCII) for part in text.split(",")] if text else []
    ends = [(int(run[1]), int(run[2] or run[1])) for run in runs if run is not None]
    ascending = all(a <= b for a, b in ends) and all(before[1] < after[0] for before, after in pairwise(ends))
    if len(ends) < len(runs) or not ascending:
        raise ValueError("indices are not ascending ranges such as '0-9,12'")
    return sum(b - a + 1 for a, b in ends)
