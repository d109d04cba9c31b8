"""Metrics that break one rule each. The text of this module is installed as a distribution of its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sparring.hookspecs import hookimpl
from sparring.plugin import Direction, MetricSpec, param


class Survivors:
    """Not bad: attacked images that are still right."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def measure(self, evidence: Any) -> Any:
        if evidence.attacked is None or not len(evidence.y):
            return None
        return self.value(evidence)

    def value(self, evidence: Any) -> Any:
        return float((evidence.attacked == evidence.y).mean())


GOOD = MetricSpec(
    name="good-survivors",
    summary="Attacked images that are still right.",
    definition="right predictions / attacked images",
    direction=Direction.HIGHER,
    unit="%",
    load=Survivors,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    width: int = param(3, "width")

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.width + 1)


@dataclass(frozen=True, kw_only=True, init=False)
class Lenient:
    width: int = param(3, "width")

    def __init__(self, **settings: Any) -> None:
        object.__setattr__(self, "width", settings.get("width", 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    width: int = 3


class Raises(Survivors):
    def value(self, evidence: Any) -> Any:
        raise ValueError("nothing works")


class Wordy(Survivors):
    """Without answers on the training set it says so, in words."""

    def value(self, evidence: Any) -> Any:
        return "few" if evidence.classes == 2 else super().value(evidence)


class Fickle(Survivors):
    def value(self, evidence: Any) -> Any:
        return super().value(evidence) * (1 - time.time_ns() % 1_000_003 * 1e-12)


class InPlace(Survivors):
    def value(self, evidence: Any) -> Any:
        right = super().value(evidence)
        evidence.attacked[:] = evidence.y
        return right


class Notes(Survivors):
    """Leaves a number behind for other metrics."""

    def value(self, evidence: Any) -> Any:
        evidence.scalars["survivors"] = super().value(evidence)
        return evidence.scalars["survivors"]


class GlobalRandomness(Survivors):
    def value(self, evidence: Any) -> Any:
        random.seed(0)
        return super().value(evidence)


class Threads(Survivors):
    def value(self, evidence: Any) -> Any:
        import torch

        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().value(evidence)


class Settings(Survivors):
    def value(self, evidence: Any) -> Any:
        import numpy as np

        np.seterr(all="ignore")
        return super().value(evidence)


class Hundreds(Survivors):
    def value(self, evidence: Any) -> Any:
        return 100 * super().value(evidence)


class NeedsATwin(Survivors):
    def value(self, evidence: Any) -> Any:
        return float((evidence.attacked == evidence.twin_prediction[evidence.sample]).mean())


class DividesByNothing(Survivors):
    def measure(self, evidence: Any) -> Any:
        import numpy as np

        if evidence.attacked is None:
            return None
        with np.errstate(all="ignore"):
            return float(np.divide((evidence.attacked == evidence.y).sum(), len(evidence.y)))


class FirstImage(Survivors):
    def value(self, evidence: Any) -> Any:
        return float(evidence.attacked[0] == evidence.y[0])


class InTheTestSet(Survivors):
    """Takes the attacked images for the first of the test set."""

    def value(self, evidence: Any) -> Any:
        return float((evidence.attacked == evidence.y_test[: len(evidence.attacked)]).mean())


class Homebound(Survivors):
    def value(self, evidence: Any) -> Any:
        return super().value(evidence) * (1 - os.getpid() * 1e-12)


def _metric(check: str, load: Any, *, how: str = "", **declared: Any) -> tuple[str, MetricSpec]:
    """The check that it breaks, and the metric."""
    return check, replace(GOOD, name=f"breaks-{check}{how and '-by-'}{how}", load=load, **declared)


BAD = (
    _metric("parameters-survive", Survivors, params=Growing),
    _metric("unknown-parameters-refused", Survivors, params=Lenient),
    _metric("explains-itself", Survivors, params=Silent),
    _metric("runs", Raises),
    _metric("legal-answers", Wordy),
    _metric("same-seed-same-bytes", Fickle),
    _metric("another-seed-differs", Survivors, randomised=True),
    _metric("inputs-untouched", InPlace),
    _metric("inputs-untouched", Notes, how="leaving-notes"),
    _metric("global-randomness-untouched", GlobalRandomness),
    _metric("threads-untouched", Threads),
    _metric("settings-untouched", Settings),
    _metric("gives-its-definition", Survivors, definition=" "),
    _metric("percentages-are-fractions", Hundreds),
    _metric("direction-is-honest", Survivors, direction=Direction.LOWER),
    _metric("copes-with-missing-parts", NeedsATwin),
    _metric("copes-with-missing-parts", DividesByNothing, how="dividing"),
    _metric("order-does-not-matter", FirstImage),
    _metric("order-does-not-matter", InTheTestSet, how="indexing"),
    _metric("works-in-a-spawned-process", Homebound),
)


@hookimpl
def sparring_metrics() -> Iterable[MetricSpec]:
    return (GOOD, *(spec for _, spec in BAD))
