"""Evidence for metrics to measure, made up, but as the harness would hand it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Certificate, Evidence
from sparring.data import IntArray
from sparring.threat import Budget, Goal, Norm, ThreatModel, When

TESTED, TRAINED, ATTACKED, CERTIFIED = 40, 60, 20, 12
"""Rows of the test set, rows of the training set, attacked ones, certified ones."""

EPSILON: Final = 0.1
EVASION: Final = ThreatModel(
    when=When.INFERENCE, goal=Goal.TARGETED, norm=Norm.LINF, budget=Budget.BOUNDED, epsilon=EPSILON
)
BACKDOOR: Final = ThreatModel(when=When.TRAINING, goal=Goal.BACKDOOR, poison_fraction=0.25, label_changes=True)


@dataclass(frozen=True, kw_only=True)
class Course:
    """How the cell went, as shares of the images.

    Attributes:
        right: clean images that are classified right.
        robust: attacked images that are; the others become what the attacker wants.
        caught: of the attacked images and of the poisoned rows, what is found.
        spared: of the clean ones, what is not.
        certified: clean images whose right answer is certified.
    """

    right: float
    robust: float
    caught: float
    spared: float
    certified: float


MIXED: Final = Course(right=0.7, robust=0.4, caught=0.6, spared=0.8, certified=0.5)
ALL_RIGHT: Final = Course(right=1.0, robust=1.0, caught=1.0, spared=1.0, certified=1.0)
ALL_WRONG: Final = Course(right=0.0, robust=0.0, caught=0.0, spared=0.0, certified=0.0)


def complete(classes: int, course: Course, threat: ThreatModel = EVASION) -> Evidence:
    """Evidence of which nothing is missing; new arrays each time."""
    rng = np.random.default_rng([classes, 3])
    y_test, y_train = np.arange(TESTED) % classes, np.arange(TRAINED) % classes
    sample = np.sort(rng.choice(TESTED, ATTACKED, replace=False))
    y, goal = y_test[sample], (y_test[sample] + 1) % classes
    poisoned = np.arange(TRAINED) < TRAINED // 4
    flagged, clean_flagged = _first(ATTACKED, course.caught), ~_first(TESTED, course.spared)
    certain = _first(CERTIFIED, course.certified)
    clean = _answers(y_test, course.right, classes)
    probed = y_test[:ATTACKED].copy()
    return Evidence(
        classes=classes,
        threat=threat,
        y_test=y_test,
        clean_prediction=clean,
        twin_prediction=y_test.copy(),
        y_train=y_train,
        train_prediction=_answers(y_train, 0.95, classes),
        sample=sample,
        y=y,
        clean=clean[sample],
        attacked=np.where(_first(ATTACKED, course.robust), y, goal),
        goal=goal,
        flagged=flagged,
        clean_flagged=clean_flagged,
        suspicion=np.where(flagged, 2.0, -2.0) + rng.random(ATTACKED),
        clean_suspicion=np.where(clean_flagged, 2.0, -2.0) + rng.random(TESTED),
        poisoned=poisoned,
        kept=_kept(poisoned, course),
        certificate=Certificate(
            prediction=np.where(certain, y_test[:CERTIFIED], (y_test[:CERTIFIED] + 1) % classes),
            radius=np.where(certain, 2 * EPSILON, 0.0),
            unit=str(Norm.LINF),
        ),
        certified_y=y_test[:CERTIFIED].copy(),
        trials=(round(5 * (1 - course.robust)), 5),
        probes={"noise": (probed, _answers(probed, course.right, classes))},
        scalars=dict(SCALARS),
    )


SCALARS: Final[Mapping[str, float]] = {
    "budget-l0-mean": 90.0,
    "budget-l0-max": 120.0,
    "budget-l2-mean": 0.7,
    "budget-l2-max": 0.9,
    "budget-linf-mean": 0.09,
    "budget-linf-max": EPSILON,
    "poisoned-fraction": 0.25,
    "malicious-clients": 0.2,
    "labels-changed": 9.0,
    "forward-queries": 40.0,
    "gradient-queries": 40.0,
    "before-repair-clean-accuracy": 0.9,
    "before-repair-asr": 0.8,
    "accused": 1.0,
}
"""All that the judge measures itself."""


def _first(count: int, share: float) -> NDArray[np.bool_]:
    return np.arange(count) < round(share * count)


def _answers(y: IntArray, share: float, classes: int) -> IntArray:
    """The first of them right, the others one label too high."""
    return np.asarray(np.where(_first(len(y), share), y, (y + 1) % classes), dtype=np.int64)


def _kept(poisoned: NDArray[np.bool_], course: Course) -> NDArray[np.bool_]:
    kept = np.empty(len(poisoned), dtype=bool)
    kept[poisoned] = ~_first(int(poisoned.sum()), course.caught)
    kept[~poisoned] = _first(int((~poisoned).sum()), course.spared)
    return kept


PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "a twin": ("twin_prediction",),
    "a training set": ("y_train", "train_prediction"),
    "attacked images": ("sample", "y", "clean", "attacked", "goal", "flagged", "suspicion"),
    "answers on the training set": ("train_prediction",),
    "a detector": ("flagged", "clean_flagged", "suspicion", "clean_suspicion"),
    "poison": ("poisoned",),
    "a sanitiser": ("kept",),
    "a certificate": ("certificate", "certified_y"),
    "trials": ("trials",),
    "probes": ("probes",),
    "scalars": ("scalars",),
}
"""What a cell may lack, in words, and the fields that say nothing then."""


def incomplete(classes: int) -> Mapping[str, Evidence]:
    """What the harness hands over of cells that went through fewer stages, by what is missing."""
    whole = complete(classes, MIXED)
    everything = tuple(field for names in PARTS.values() for field in names)
    series = {f"without {part}": _without(whole, names) for part, names in PARTS.items()}
    series |= {
        f"with {part} alone": _without(whole, tuple(set(everything) - set(names))) for part, names in PARTS.items()
    }
    attack_alone = _without(whole, tuple(set(everything) - set(PARTS["attacked images"][:5])))
    assert attack_alone.y is not None
    return series | {
        "without anything": _without(whole, everything),
        "without a goal": replace(attack_alone, goal=np.full(ATTACKED, -1)),
        "without a threat model": replace(whole, threat=ThreatModel()),
        "without an attack on the sampled images": _without(whole, ("attacked", "goal", "flagged", "suspicion")),
        "with no image that could be attacked": _emptied(whole),
        "with nothing right before the attack": replace(
            attack_alone, clean=(attack_alone.y + 1) % classes, goal=np.full(ATTACKED, -1)
        ),
        "with nothing poisoned": replace(whole, poisoned=np.zeros(TRAINED, dtype=bool)),
        "with every row kept": replace(whole, kept=np.ones(TRAINED, dtype=bool)),
    }


def _without(evidence: Evidence, names: tuple[str, ...]) -> Evidence:
    nothing: dict[str, Any] = {name: {} if name in ("probes", "scalars") else None for name in names}
    return replace(evidence, **nothing)


def _emptied(evidence: Evidence) -> Evidence:
    """All sampled images are of the target class already."""
    none = np.empty(0, dtype=np.int64)
    return replace(
        evidence,
        sample=none,
        y=none,
        clean=none,
        attacked=none,
        goal=none,
        flagged=np.empty(0, dtype=bool),
        suspicion=np.empty(0),
        trials=None,
    )


def shuffled(evidence: Evidence, seed: int) -> Evidence:
    """The same with test rows, attacked rows, training rows and certified rows each in another order."""
    rng = np.random.default_rng(seed)
    tested, attacked, trained, certified = map(rng.permutation, (TESTED, ATTACKED, TRAINED, CERTIFIED))
    orders = {
        "y_test": tested,
        "clean_prediction": tested,
        "twin_prediction": tested,
        "clean_flagged": tested,
        "clean_suspicion": tested,
        "y": attacked,
        "clean": attacked,
        "attacked": attacked,
        "goal": attacked,
        "flagged": attacked,
        "suspicion": attacked,
        "y_train": trained,
        "train_prediction": trained,
        "poisoned": trained,
        "kept": trained,
        "certified_y": certified,
    }
    moved: dict[str, Any] = {name: getattr(evidence, name)[order] for name, order in orders.items()}
    assert evidence.sample is not None
    assert evidence.certificate is not None
    moved["sample"] = np.argsort(tested)[evidence.sample[attacked]]
    moved["certificate"] = replace(
        evidence.certificate,
        prediction=evidence.certificate.prediction[certified],
        radius=evidence.certificate.radius[certified],
    )
    return replace(evidence, **moved)
