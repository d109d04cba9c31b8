"""First-party metrics that a suite has to name."""

from __future__ import annotations

from collections.abc import Iterable

from sparring.hookspecs import hookimpl
from sparring.plugin import MetricSpec
from sparring_metrics import average_certified_radius, detection_tpr_at_1


@hookimpl
def sparring_metrics() -> Iterable[MetricSpec]:
    return (
        detection_tpr_at_1.SPEC,
        average_certified_radius.SPEC,
    )
