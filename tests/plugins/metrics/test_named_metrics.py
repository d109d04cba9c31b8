"""Metrics that a suite has to name: what they say of evidence made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

import sparring_metrics
from sparring.contracts import Certificate, Evidence
from sparring.plugin import NoParams
from sparring.threat import ThreatModel
from sparring_metrics.average_certified_radius import AverageCertifiedRadius
from sparring_metrics.detection_tpr_at_1 import DetectionTprAt1

NOTHING = np.zeros(0, dtype=np.int64)


def evidence(**known: object) -> Evidence:
    return Evidence(classes=2, threat=ThreatModel(), y_test=NOTHING, clean_prediction=NOTHING, **known)


def test_none_joins_a_board_that_names_no_metric() -> None:
    assert not any(spec.by_default for spec in sparring_metrics.sparring_metrics())


@pytest.mark.parametrize("grain", [1e-9, 0.2], ids=["no ties", "many ties"])
@pytest.mark.parametrize("clean_images", [60, 1000])
def test_the_rate_is_the_point_of_the_roc_curve(grain: float, clean_images: int) -> None:
    rng = np.random.default_rng(0)
    clean = (rng.normal(size=clean_images) / grain).round() * grain
    attacked = (rng.normal(2, 1, size=300) / grain).round() * grain
    measured = DetectionTprAt1(NoParams()).measure(evidence(suspicion=attacked, clean_suspicion=clean))
    truth = np.repeat([0, 1], [len(clean), len(attacked)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([clean, attacked]), drop_intermediate=False)
    assert measured == pytest.approx(tpr[fpr <= 0.01].max())
    assert 0 < tpr[fpr <= 0.01].max() < 1


def test_one_score_for_all_finds_nothing() -> None:
    assert DetectionTprAt1(NoParams()).measure(evidence(suspicion=np.ones(9), clean_suspicion=np.ones(500))) == 0


def test_the_radius_counts_where_the_answer_is_right() -> None:
    """The area under certified accuracy, as Zhai et al. 2020 define it; an abstention is wrong."""
    certificate = Certificate(np.array([0, 1, 1, -1]), np.array([0.5, 0.25, 1.0, 0.0]), "l2")
    y = np.array([0, 1, 0, 0])
    found = AverageCertifiedRadius(NoParams()).measure(evidence(certificate=certificate, certified_y=y))
    radii = np.linspace(0, 1, 100_001)
    right = certificate.prediction == y
    area = np.mean([(right & (certificate.radius >= radius)).mean() for radius in radii[::10]])
    assert found == pytest.approx(area, abs=1e-3)
    assert found == pytest.approx(0.1875)


@pytest.mark.parametrize("metric", [DetectionTprAt1, AverageCertifiedRadius])
def test_where_nothing_was_detected_or_certified_they_say_nothing(metric) -> None:
    assert metric(NoParams()).measure(evidence()) is None
