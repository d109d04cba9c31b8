"""Metrics that a suite has to name: what they say of evidence made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

import sparring_metrics
from sparring.contracts import Certificate, Evidence
from sparring.plugin import NoParams
from sparring.threat import Goal, ThreatModel
from sparring_metrics.average_certified_radius import AverageCertifiedRadius
from sparring_metrics.backdoor_robustness_accuracy import BackdoorRobustnessAccuracy
from sparring_metrics.defence_effectiveness import DefenceEffectiveness
from sparring_metrics.detection_tpr_at_1 import DetectionTprAt1

NOTHING = np.zeros(0, dtype=np.int64)


def evidence(**known: object) -> Evidence:
    return Evidence(**{"classes": 2, "threat": ThreatModel(), "y_test": NOTHING, "clean_prediction": NOTHING} | known)


def backdoored(attacked: list[int], **known: object) -> Evidence:
    """Four triggered images of the classes 1 to 4, which the attacker wants to be 0; ten clean ones."""
    triggered = {"y": np.array([1, 2, 3, 4]), "goal": np.zeros(4, dtype=np.int64), "attacked": np.array(attacked)}
    clean = {"y_test": np.arange(10) % 5, "clean_prediction": np.arange(10) % 5}
    return evidence(**{"threat": ThreatModel(goal=Goal.BACKDOOR)} | triggered | clean | known)


def repaired(success: float, accuracy: float, attacked: list[int], wrong: int, **known: object) -> Evidence:
    """A backdoor after a repair, with what was measured before it; `wrong` of the ten clean answers are."""
    answers = (np.arange(10) + (np.arange(10) < wrong)) % 5
    before = {"before-repair-asr": success, "before-repair-clean-accuracy": accuracy}
    return backdoored(attacked, clean_prediction=answers, scalars=before, **known)


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


METRICS = [DetectionTprAt1, AverageCertifiedRadius, BackdoorRobustnessAccuracy, DefenceEffectiveness]


@pytest.mark.parametrize("metric", METRICS)
def test_where_nothing_was_detected_or_certified_they_say_nothing(metric) -> None:
    assert metric(NoParams()).measure(evidence()) is None


def test_a_triggered_image_is_recognised_by_its_true_label_only() -> None:
    """One of four is: one goes to the attacker, one to neither, and one is rejected by a detector."""
    metric, flagged = BackdoorRobustnessAccuracy(NoParams()), np.array([False, False, False, True])
    assert metric.measure(backdoored([1, 0, 1, 4])) == 0.5
    assert metric.measure(backdoored([1, 0, 1, 4], flagged=flagged)) == 0.25
    assert metric.measure(backdoored([1, 0, 1, 4], threat=ThreatModel(goal=Goal.TARGETED))) is None


@pytest.mark.parametrize(
    ("success", "accuracy", "attacked", "wrong", "rating"),
    [
        (1.0, 1.0, [1, 2, 3, 4], 0, 1.0),  # all of the backdoor goes, at no cost
        (1.0, 1.0, [0, 0, 0, 0], 0, 0.5),  # nothing happens
        (1.0, 0.9, [1, 2, 0, 0], 3, 0.65),  # half of the backdoor for a fifth of the accuracy
        (0.5, 0.9, [0, 0, 0, 0], 3, 0.4),  # a backdoor that works better counts as unchanged
        (0.5, 0.7, [1, 2, 0, 0], 0, 0.5),  # and so does accuracy that rises
        (0.0, 1.0, [1, 2, 3, 4], 10, 0.0),  # all of the accuracy for nothing
    ],
)
def test_a_repair_is_rated_as_zhu_et_al_define_it(
    success: float, accuracy: float, attacked: list[int], wrong: int, rating: float
) -> None:
    assert DefenceEffectiveness(NoParams()).measure(repaired(success, accuracy, attacked, wrong)) == pytest.approx(
        rating
    )


def test_what_a_detector_rejects_is_neither_a_success_nor_right() -> None:
    rejected = {"flagged": np.array([True, True, False, False]), "clean_flagged": np.arange(10) < 1}
    rated = DefenceEffectiveness(NoParams()).measure(repaired(1.0, 1.0, [0, 0, 0, 0], 0, **rejected))
    assert rated == pytest.approx((0.5 - 0.1 + 1) / 2)


def test_without_a_repair_or_a_backdoor_nothing_is_rated() -> None:
    metric = DefenceEffectiveness(NoParams())
    assert metric.measure(backdoored([1, 2, 3, 4])) is None
    assert metric.measure(repaired(1.0, 1.0, [1, 2, 3, 4], 0, threat=ThreatModel(goal=Goal.TARGETED))) is None
