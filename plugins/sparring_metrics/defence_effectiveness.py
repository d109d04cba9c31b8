"""What a repair takes from a backdoor, less what it takes from clean accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Direction, MetricSpec, NoParams
from sparring.threat import Goal

if TYPE_CHECKING:
    from sparring.contracts import Evidence


class DefenceEffectiveness:
    """DER of Zhu et al. 2023: 1 for a backdoor that always worked and never does any more, at no cost; 1/2 for a repair
    without effect. A backdoor that works better afterwards, and accuracy that rises, count as unchanged.

    It compares one model before and after, so it needs a repair: of a defence that acts earlier, the undefended model
    is another cell's.
    """

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, evidence: Evidence) -> float | None:
        attacked, goal = evidence.attacked, evidence.goal
        accuracy = evidence.scalars.get("before-repair-clean-accuracy")
        success = evidence.scalars.get("before-repair-asr")
        if evidence.threat.goal is not Goal.BACKDOOR or accuracy is None or success is None:
            return None
        if attacked is None or goal is None or not len(goal):
            return None
        right, hits = evidence.clean_prediction == evidence.y_test, attacked == goal
        if evidence.clean_flagged is not None:
            right = right & ~evidence.clean_flagged
        if evidence.flagged is not None:
            hits = hits & ~evidence.flagged
        gain, cost = success - float(hits.mean()), accuracy - float(right.mean())
        return (max(0.0, gain) - max(0.0, cost) + 1) / 2


SPEC = MetricSpec(
    name="defence-effectiveness",
    summary="what a repair takes from a backdoor, less what it takes from clean accuracy; 50 % is no effect",
    citation="Zhu et al. 2023, Enhancing fine-tuning based backdoor defense with sharpness-aware minimization, ICCV, "
    "evaluation metrics; arXiv 2304.11823",
    definition="(max(0, attack success before the repair - after) - max(0, clean accuracy before - after) + 1) / 2;"
    " what a detector rejects is neither a success nor right",
    direction=Direction.HIGHER,
    unit="%",
    by_default=False,
    load=DefenceEffectiveness,
)
