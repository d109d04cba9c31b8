"""Every metric of this repository keeps to its contract."""

from __future__ import annotations

from sparring.catalogue import discover
from sparring.plugin import Kind
from sparring.testing import Trial, parametrize_plugins

METRICS = [f"metric/{entry.spec.name}" for entry in discover().entries(Kind.METRIC) if entry.distribution == "sparring"]


@parametrize_plugins(*METRICS)
def test_metrics(trial: Trial) -> None:
    trial.run()
