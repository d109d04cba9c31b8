"""How many triggered images are still recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Direction, MetricSpec, NoParams
from sparring.threat import Goal

if TYPE_CHECKING:
    from sparring.contracts import Evidence


class BackdoorRobustnessAccuracy:
    """Beside the success rate: a triggered image that is kept from the attacker's label may still get a wrong one
    (BackdoorBench's R-Acc). `robust-accuracy` counts an image that a detector rejects as right; here nobody told its
    class."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, evidence: Evidence) -> float | None:
        answers, y = evidence.attacked, evidence.y
        if evidence.threat.goal is not Goal.BACKDOOR or answers is None or y is None or not len(y):
            return None
        right = answers == y
        if evidence.flagged is not None:
            right = right & ~evidence.flagged
        return float(right.mean())


SPEC = MetricSpec(
    name="backdoor-robustness-accuracy",
    summary="triggered images that get their true label",
    citation="Wu et al. 2022, BackdoorBench: a comprehensive benchmark of backdoor learning, NeurIPS Datasets and "
    "Benchmarks; arXiv 2206.12654",
    definition="triggered images predicted as their true class / triggered images, none of which is of the attacker's"
    " class; a rejected one counts as wrong",
    direction=Direction.HIGHER,
    unit="%",
    by_default=False,
    load=BackdoorRobustnessAccuracy,
)
