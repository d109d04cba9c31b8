"""First-party metrics that a suite has to name."""

from __future__ import annotations

from collections.abc import Iterable

from sparring.hookspecs import hookimpl
from sparring.plugin import MetricSpec
from sparring_metrics import (
    average_certified_radius,
    backdoor_robustness_accuracy,
    defence_effectiveness,
    detection_tpr_at_1,
)


@hookimpl
def sparring_metrics() -> Iterable[MetricSpec]:
    return (
        detection_tpr_at_1.SPEC,
        average_certified_radius.SPEC,
        backdoor_robustness_accuracy.SPEC,
        defence_effectiveness.SPEC,
    )
