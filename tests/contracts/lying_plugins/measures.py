"""Metrics that break rules. They are measured where a suite names them."""

from __future__ import annotations

from typing import Any

from sparring.plugin import Direction, MetricSpec, NoParams


class NotANumber:
    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, evidence: Any) -> float:
        return float("nan")


class ChangesTheEvidence:
    """Alphabetically before all others: it would make every model right."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, evidence: Any) -> float:
        evidence.y[:] = evidence.attacked
        return 1.0


def _spec(name: str, load: Any) -> MetricSpec:
    return MetricSpec(name=name, summary="A lie.", load=load, definition="none", direction=Direction.NEITHER)


SPECS = (_spec("not-a-number", NotANumber), _spec("aaa", ChangesTheEvidence))
