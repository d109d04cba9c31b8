"""Metrics: what they measure of made-up evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Evidence
from sparring.stage import RuleBroken
from sparring.testing.evidence import ALL_RIGHT, ALL_WRONG, BACKDOOR, MIXED, complete
from sparring.testing.performance import INPUTS, Performance, unchanged, watched
from sparring.testing.scene import Scene
from sparring.testing.subject import Subject


def metric(subject: Subject, scene: Scene) -> Performance:
    """A metric is shown evidence of which nothing is missing, of many and of two classes, from mixed, perfect and
    worthless defences, against evasion and against a backdoor."""
    many, two = scene.classes, 2
    return measured(
        subject,
        scene,
        {
            "mixed": complete(many, MIXED),
            "all right": complete(many, ALL_RIGHT),
            "all wrong": complete(many, ALL_WRONG),
            "two classes": complete(two, MIXED),
            "mixed backdoor": complete(many, MIXED, BACKDOOR),
            "all right backdoor": complete(many, ALL_RIGHT, BACKDOOR),
            "all wrong backdoor": complete(many, ALL_WRONG, BACKDOOR),
        },
    )


def measured(subject: Subject, scene: Scene, series: Mapping[str, Evidence]) -> Performance:
    """A metric is shown each evidence of a series."""
    with watched(scene) as (seen, _):
        with seen.acting("load"):
            plugin = subject.load()
        for name, evidence in series.items():
            with _untouched(seen, evidence), seen.acting(f"measuring {name} evidence"):
                seen.keep(f"measure/{name}", plugin.measure(evidence))
    return seen


@contextmanager
def _untouched(seen: Performance, evidence: Evidence) -> Iterator[None]:
    """All metrics of a cell are shown the same evidence, one after the other."""
    scalars, probes = dict(evidence.scalars), set(evidence.probes)
    with unchanged(seen, INPUTS, **arrays_of(evidence)):
        yield
    if dict(evidence.scalars) != scalars or set(evidence.probes) != probes:
        seen.changed.setdefault(INPUTS, []).append("scalars or probes")


def arrays_of(evidence: Evidence) -> dict[str, NDArray[Any]]:
    """All arrays, by name."""
    found = {f.name: value for f in fields(evidence) if isinstance(value := getattr(evidence, f.name), np.ndarray)}
    for name, (labels, answers) in evidence.probes.items():
        found |= {f"probe_{name}_labels": labels, f"probe_{name}_answers": answers}
    if evidence.certificate is not None:
        found |= {"certified": evidence.certificate.prediction, "radius": evidence.certificate.radius}
    return found


def number_of(subject: Subject, value: Any) -> float | None:
    """What was measured. Raises `RuleBroken` where it is neither a finite number nor `None`."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise RuleBroken(f"{subject} measured {value!r}; expected a finite number or None") from None
    if not np.isfinite(number):
        raise RuleBroken(f"{subject} measured {number}; expected a finite number or None")
    return number


def legal_metric(subject: Subject, seen: Performance) -> None:
    """Raise `RuleBroken` where a value is neither a finite number nor `None`."""
    for value in seen.returned.values():
        number_of(subject, value)
