"""Data sets heed the parameters that all of them have, and their parts belong together."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from sparring.data import ArrayDataset
from sparring.plugin import Kind
from sparring.stage import RuleBroken
from sparring.testing.check import Check, Impossible, Violation
from sparring.testing.scene import BASE
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout

SAMPLE = 5000
"""Images of each part that are looked at where few will not do."""

SHARED = 0.05
"""Share of the test images that may be in the training set, too: some published sets hold a few copies."""


def _is_dataset(subject: Subject) -> bool:
    return subject.kind is Kind.DATASET


def _params(subject: Subject) -> set[str]:
    return {f.name for f in fields(subject.spec.params)}


def _takes(*names: str) -> Any:
    return lambda subject: _is_dataset(subject) and _params(subject) >= set(names)


@lru_cache(maxsize=1)
def _sample(subject: Tryout) -> tuple[ArrayDataset, ArrayDataset] | None:
    """Many images of all classes; `None` where they are not legal: that is another check."""
    return _legal(subject, {"classes": (), "limit_train": SAMPLE, "limit_test": SAMPLE})


def _legal(subject: Tryout, changes: dict[str, Any]) -> tuple[ArrayDataset, ArrayDataset] | None:
    from sparring.testing.acting.datasets import legal_dataset, loaded, parts_of

    seen = loaded(subject, BASE, changes)
    try:
        legal_dataset(subject, seen)
    except RuleBroken:
        return None
    return parts_of(subject, seen)


def takes_classes_and_limits(subject: Subject) -> None:
    from sparring.testing.acting.datasets import COMMON

    if lacking := [name for name in COMMON if name not in _params(subject)]:
        raise Violation(
            "every data set takes classes, limit_train and limit_test",
            f"it does not take {', '.join(lacking)}",
            "let its params be sparring.subset.SubsetParams, or a subclass; end load with sparring.subset.subset(...)",
        )


def heeds_limits(subject: Tryout) -> None:
    limits = {"limit_train": 40, "limit_test": 20}
    if (parts := _legal(subject, limits)) is None:
        return
    for (name, limit), part in zip(limits.items(), parts, strict=True):
        if len(part) > limit:
            raise Violation(
                "it has at most limit_train training images and limit_test test images",
                f"{len(part)} images with {name}={limit}",
                "end load with sparring.subset.subset(...), which cuts both parts and keeps the classes balanced",
            )


def heeds_classes(subject: Tryout) -> None:
    """The last class and the first, in that order, become labels 0 and 1."""
    if (whole := _sample(subject)) is None:
        return
    last = whole[0].classes - 1
    if last < 1:
        return
    chosen = _legal(subject, {"classes": (last, 0), "limit_train": SAMPLE, "limit_test": SAMPLE})
    if chosen is None:
        raise _other_classes(f"with classes=({last}, 0), it is no legal data set")
    for before, after in zip(whole, chosen, strict=True):
        names = before.class_names[last], before.class_names[0]
        if after.class_names != names:
            raise _other_classes(f"with classes=({last}, 0), the class names are {after.class_names[:4]}, not {names}")
        labels = _labels_by_image(before)
        wrong = [
            (was, int(now))
            for image, now in zip(after.pixels, after.y, strict=True)
            if (was := labels.get(image.tobytes())) is not None and was != (last, 0)[now]
        ]
        if len(wrong) > SHARED * len(after):  # a few images may be there twice, with two labels
            raise _other_classes(f"with classes=({last}, 0), {len(wrong)} images have another label, as {wrong[0]}")


def _labels_by_image(part: ArrayDataset) -> dict[bytes, int]:
    return {image.tobytes(): int(label) for image, label in zip(part.pixels, part.y, strict=True)}


def _other_classes(seen: str) -> Violation:
    return Violation(
        "'classes' names the original labels that are kept; they become 0, 1, ... in the order given",
        seen,
        "end load with sparring.subset.subset(...), which drops rows, renumbers labels and reorders class names",
    )


def parts_agree(subject: Tryout) -> None:
    from sparring.testing.legality import broken_rule

    if broken_rule(subject, subject.base.seen()):
        return
    train, test = subject.base.seen().returned["load"]
    for what, one, other in (
        ("image shape", train.image_shape, test.image_shape),
        ("class names", train.class_names, test.class_names),
    ):
        if one != other:
            raise Violation(
                "training and test set have the same image shape and the same classes",
                f"the {what} of the training set: {one}; of the test set: {other}",
                "make both from one source",
            )


def every_class_occurs(subject: Tryout) -> None:
    if (parts := _sample(subject)) is None:
        return
    for name, part in zip(("training", "test"), parts, strict=True):
        absent = sorted(set(range(part.classes)) - set(np.unique(part.y).tolist()))
        if absent:
            raise Violation(
                "every class has images in both parts",
                f"{len(absent)} of {part.classes} classes have none in {SAMPLE} {name} images:"
                f" {', '.join(part.class_names[label] for label in absent[:5])}",
                "choose limited rows balanced over the classes; name only classes that are there",
            )


def parts_are_disjoint(subject: Tryout) -> None:
    if (parts := _sample(subject)) is None:
        return
    train, test = parts
    known = _labels_by_image(train)
    shared = sum(image.tobytes() in known for image in test.pixels) / len(test)
    if shared > SHARED:
        raise Violation(
            f"at most {SHARED:.0%} of the test images are in the training set, too",
            f"{shared:.1%} are",
            "split the images before anything is drawn from them; limit each part for itself",
        )


def names_missing_files(subject: Tryout) -> None:
    """Without files and network: it needs none, or it says what is missing where."""
    from sparring.testing.acting.datasets import ROOT_VARIABLE, dataset, nothing_at_hand
    from sparring.testing.performance import PluginRaised

    with suppress(Impossible):
        if subject.base.raised is not None:
            return  # it does not run at all
    with nothing_at_hand() as root:
        try:
            dataset(subject, BASE)
        except Impossible as unavailable:
            told = str(unavailable)
        except PluginRaised as raised:
            raise _unnamed(str(raised)) from None
        else:
            return
    if lacking := [word for word in (subject.spec.name, str(root), ROOT_VARIABLE) if word not in told]:
        raise _unnamed(f"the message does not name {', '.join(lacking)}: {told}")


def _unnamed(seen: str) -> Violation:
    return Violation(
        "without its files and a network it raises DatasetUnavailable, which names the data set, the folder that it"
        " looked in and the variable SPARRING_DATA",
        seen,
        "raise sparring.contracts.DatasetUnavailable(f'data set {name}: not in {folder} (SPARRING_DATA)')",
    )


CHECKS = (
    Check(
        "takes-classes-and-limits",
        "it has the parameters that all data sets have",
        takes_classes_and_limits,
        _is_dataset,
        needs_run=False,
    ),
    Check("heeds-limits", "no more images than asked for", heeds_limits, _takes("limit_train", "limit_test")),
    Check("heeds-classes", "the classes asked for, renumbered in that order", heeds_classes, _takes("classes")),
    Check("parts-agree", "training and test set are of one kind", parts_agree, _is_dataset),
    Check("every-class-occurs", "every class has images", every_class_occurs, _is_dataset),
    Check("parts-are-disjoint", "test images are not trained on", parts_are_disjoint, _is_dataset),
    Check("names-missing-files", "missing files are named", names_missing_files, _is_dataset, needs_run=False),
)
