"""How many attacked inputs a detector finds while it rejects one clean input in a hundred."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Direction, MetricSpec, NoParams

if TYPE_CHECKING:
    from sparring.contracts import Evidence

FALSE_POSITIVES = 0.01


class DetectionTprAt1:
    """One point of the ROC curve, at the end where a detector is of use (Carlini et al. 2022, section III.B, asks for
    the rate at few false positives, beside the area). `detection-tpr` is at the threshold that was set beforehand on
    other images; here the threshold is the least with which at most 1 % of the clean test set is rejected."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, evidence: Evidence) -> float | None:
        import numpy as np

        attacked, clean = evidence.suspicion, evidence.clean_suspicion
        if attacked is None or clean is None or not len(attacked) or not len(clean):
            return None
        rejected = int(FALSE_POSITIVES * len(clean))
        threshold = np.sort(clean)[len(clean) - 1 - rejected]
        return float((attacked > threshold).mean())


SPEC = MetricSpec(
    name="detection-tpr-at-1",
    summary="attacked inputs that a detector finds at 1 % false positives",
    citation="Carlini et al. 2022, Membership inference attacks from first principles, IEEE S&P, section III.B; "
    "arXiv 2112.03570",
    definition="attacked images with a higher score than all but 1 % of the clean test set / attacked images",
    direction=Direction.HIGHER,
    unit="%",
    by_default=False,
    load=DetectionTprAt1,
)
