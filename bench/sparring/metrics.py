"""The metrics that every board has. They join the catalogue by the same hook as everybody's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.hookspecs import hookimpl
from sparring.plugin import Direction, MetricSpec, NoParams

if TYPE_CHECKING:
    from sparring.contracts import Evidence


def clean_accuracy(e: Evidence) -> float | None:
    wrong = e.clean_prediction != e.y_test
    if e.clean_flagged is not None:
        wrong = wrong | e.clean_flagged
    return float((~wrong).mean())


def robust_accuracy(e: Evidence) -> float | None:
    if e.attacked is None or e.y is None or not len(e.y):
        return None
    right = e.attacked == e.y
    if e.flagged is not None:
        right = right | e.flagged
    return float(right.mean())


def attack_success_rate(e: Evidence) -> float | None:
    if e.trials is not None:
        return e.trials[0] / e.trials[1]
    if e.attacked is None or e.y is None or e.clean is None or e.goal is None:
        return None
    wanted = e.goal >= 0
    success = (e.attacked == e.goal) if wanted.any() else (e.attacked != e.y)
    if e.flagged is not None:
        success = success & ~e.flagged
    counted = wanted if wanted.any() else e.clean == e.y
    return float(success[counted].mean()) if counted.any() else None


def accuracy_drop(e: Evidence) -> float | None:
    if e.twin_prediction is not None:
        return float((e.twin_prediction == e.y_test).mean() - (e.clean_prediction == e.y_test).mean())
    if e.clean is None or e.y is None or (robust := robust_accuracy(e)) is None:
        return None
    return float((e.clean == e.y).mean() - robust)


def training_accuracy(e: Evidence) -> float | None:
    if e.train_prediction is None or e.y_train is None or not len(e.y_train):
        return None
    return float((e.train_prediction == e.y_train).mean())


def generalisation_gap(e: Evidence) -> float | None:
    fitted = training_accuracy(e)
    return None if fitted is None else fitted - float((e.clean_prediction == e.y_test).mean())


def sanitiser_precision(e: Evidence) -> float | None:
    if e.kept is None or e.poisoned is None or e.kept.all():
        return None
    return float(e.poisoned[~e.kept].mean())


def sanitiser_recall(e: Evidence) -> float | None:
    if e.kept is None or e.poisoned is None or not e.poisoned.any():
        return None
    return float((~e.kept)[e.poisoned].mean())


def removed_fraction(e: Evidence) -> float | None:
    return None if e.kept is None else float((~e.kept).mean())


def detection_auc(e: Evidence) -> float | None:
    if e.suspicion is None or e.clean_suspicion is None or not len(e.suspicion):
        return None
    from scipy.stats import mannwhitneyu

    statistic = mannwhitneyu(e.suspicion, e.clean_suspicion).statistic
    return float(statistic / (len(e.suspicion) * len(e.clean_suspicion)))


def detection_tpr(e: Evidence) -> float | None:
    return None if e.flagged is None or not len(e.flagged) else float(e.flagged.mean())


def detection_fpr(e: Evidence) -> float | None:
    return None if e.clean_flagged is None else float(e.clean_flagged.mean())


def certified_accuracy(e: Evidence) -> float | None:
    if e.certificate is None or e.certified_y is None or not len(e.certified_y):
        return None
    epsilon = e.threat.epsilon or 0.0
    if epsilon > 0 and e.threat.norm is not None and e.certificate.unit != e.threat.norm:
        return None  # a radius in another unit says nothing about this budget
    right = (e.certificate.prediction == e.certified_y) & (e.certificate.radius >= epsilon)
    return float(right.mean())


@dataclass(frozen=True)
class FunctionMetric:
    """A metric that is one function of the evidence."""

    function: Callable[[Evidence], float | None]

    def measure(self, evidence: Evidence) -> float | None:
        return self.function(evidence)


@dataclass(frozen=True)
class ScalarMetric:
    """A number that the judge measured itself."""

    name: str

    def measure(self, evidence: Evidence) -> float | None:
        return evidence.scalars.get(self.name)


def _metric(
    name: str,
    function: Callable[[Evidence], float | None],
    direction: Direction,
    summary: str,
    definition: str,
    unit: str = "%",
) -> MetricSpec:
    def load(params: NoParams) -> FunctionMetric:
        return FunctionMetric(function)

    return MetricSpec(name=name, summary=summary, definition=definition, direction=direction, unit=unit, load=load)


def _scalar(name: str, summary: str, definition: str, unit: str = "") -> MetricSpec:
    def load(params: NoParams) -> ScalarMetric:
        return ScalarMetric(name)

    neither = Direction.NEITHER
    return MetricSpec(name=name, summary=summary, definition=definition, direction=neither, unit=unit, load=load)


_NORMS = {
    "l0": ("L0", "pixels of which any channel changed", "pixels"),
    "l2": ("L2", "Euclidean length of the change", ""),
    "linf": ("L∞", "largest absolute change of one value", ""),
}


def _budget_metrics() -> Iterable[MetricSpec]:
    for norm, (shown, what, unit) in _NORMS.items():
        for kind in ("mean", "max"):
            yield _scalar(
                f"budget-{norm}-{kind}",
                f"{kind} measured {shown} distortion",
                f"{what}, {kind} over the changed images (attacked, triggered or poisoned); pixels lie in [0, 1]",
                unit,
            )


@hookimpl
def sparring_metrics() -> Iterable[MetricSpec]:
    yield from _accuracy_metrics()
    yield from _sanitiser_metrics()
    yield from _detection_metrics()
    yield from _measured()


def _accuracy_metrics() -> Iterable[MetricSpec]:
    """What the model gets right, and what the attack achieves."""
    yield _metric(
        "clean-accuracy",
        clean_accuracy,
        Direction.HIGHER,
        "accuracy on the clean test set",
        "right predictions / all images of the clean test set; a clean image that a detector rejects counts as wrong",
    )
    yield _metric(
        "robust-accuracy",
        robust_accuracy,
        Direction.HIGHER,
        "accuracy on attacked test images",
        "right predictions / attacked images, images that were wrong before included; a rejected one counts as right",
    )
    yield _metric(
        "asr",
        attack_success_rate,
        Direction.LOWER,
        "attack success rate",
        "with a target: attacked images predicted as the target / attacked images not of the target class, or"
        " successful trials / trials; without: images that became wrong / images that were right before the attack",
    )
    yield _metric(
        "accuracy-drop",
        accuracy_drop,
        Direction.LOWER,
        "accuracy lost to the attack",
        "at training time: clean accuracy of the paired model trained without the attack minus that of this one;"
        " at inference: accuracy of the attacked images before minus after",
    )
    yield _metric(
        "training-accuracy",
        training_accuracy,
        Direction.NEITHER,
        "accuracy on the training set as it was fitted",
        "right predictions / rows of the training set after poisoning and sanitising",
    )
    yield _metric(
        "generalisation-gap",
        generalisation_gap,
        Direction.LOWER,
        "training accuracy minus clean test accuracy",
        "accuracy on the training set as it was fitted (poison included) minus accuracy on the clean test set",
    )


def _sanitiser_metrics() -> Iterable[MetricSpec]:
    """How well poison was found in the training set."""
    yield _metric(
        "sanitiser-precision",
        sanitiser_precision,
        Direction.HIGHER,
        "how much of what was removed was poisoned",
        "removed poisoned rows / removed rows",
    )
    yield _metric(
        "sanitiser-recall",
        sanitiser_recall,
        Direction.HIGHER,
        "how much of the poison was removed",
        "removed poisoned rows / poisoned rows",
    )
    yield _metric(
        "removed-fraction",
        removed_fraction,
        Direction.NEITHER,
        "rows a sanitiser removed",
        "removed rows / rows of the training set",
    )


def _detection_metrics() -> Iterable[MetricSpec]:
    """How well attacked inputs were found, and what was proven."""
    yield _metric(
        "detection-auc",
        detection_auc,
        Direction.HIGHER,
        "how well suspicion separates attacked from clean inputs",
        "area under the ROC curve of the detector's score, attacked images against the clean test set; 0.5 is chance",
    )
    yield _metric(
        "detection-tpr",
        detection_tpr,
        Direction.HIGHER,
        "attacked inputs that the detector rejects",
        "rejected attacked images / attacked images, at the threshold set on clean data for the stated"
        " false-positive rate",
    )
    yield _metric(
        "detection-fpr",
        detection_fpr,
        Direction.LOWER,
        "clean inputs that the detector rejects",
        "rejected clean test images / clean test images, at the same threshold",
    )
    yield _metric(
        "certified-accuracy",
        certified_accuracy,
        Direction.HIGHER,
        "accuracy that is proven",
        "images predicted right with a certified radius of at least epsilon (0 where the threat model states none)"
        " / images; only where the radius is in the threat model's norm",
    )


def _measured() -> Iterable[MetricSpec]:
    """What the judge measured itself."""
    yield from _budget_metrics()
    yield _scalar("poisoned-fraction", "measured poison fraction", "changed rows / rows of the training set", "%")
    yield _scalar("malicious-clients", "measured share of malicious clients", "the attacker's clients / clients", "%")
    yield _scalar("labels-changed", "measured label changes", "rows of the training set whose label changed", "rows")
    yield _scalar("forward-queries", "forward queries per sample", "model evaluations / attacked images")
    yield _scalar("gradient-queries", "gradient queries per sample", "backward passes / attacked images")
    yield _scalar("before-repair-clean-accuracy", "clean accuracy before the repair", "as clean accuracy", "%")
    yield _scalar("before-repair-asr", "attack success rate before the repair", "as attack success rate", "%")
    yield _scalar("accused", "share of models that an inspection calls poisoned", "1 accused, 0 not", "%")
