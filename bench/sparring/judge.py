"""Measures what a plugin really did, and turns a broken rule into a failure that names the plugin and the rule.

Attacks never grade themselves: whatever they say of success, distortion or queries, only what is measured here counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Certificate, Finding, Sanitised
from sparring.data import ArrayDataset, Arrays, Distortion, FloatArray, IntArray, Poisoned, distortion
from sparring.stage import RuleBroken
from sparring.threat import Budget, Norm, ThreatModel

ROUNDING = 1e-5
"""Excess over a range or a budget that is put down to rounding, and clipped."""


@contextmanager
def rules_kept(plugin: str, *given: ArrayDataset | None) -> Iterator[None]:
    """Runs a plugin's code: whatever rule it breaks, the message names it.

    Args:
        plugin: for messages.
        given: data sets it is handed. NumPy refuses to write to them, torch does not: they are compared afterwards.

    Raises:
        RuleBroken: it wrote to a read-only array or to one of `given`, or asked a model for what is not offered.
    """
    before = [_checksum(data) for data in given]
    try:
        yield
    except RuleBroken as broken:
        if plugin in str(broken):
            raise
        raise RuleBroken(f"{plugin} broke a rule: {broken}") from broken
    except (ValueError, RuntimeError) as error:
        if "read-only" in str(error):
            raise RuleBroken(f"{plugin} changed its input in place; work on a copy") from error
        raise
    if [_checksum(data) for data in given] != before:
        raise RuleBroken(f"{plugin} changed its input in place; work on a copy")


def _checksum(data: ArrayDataset | None) -> tuple[int, ...]:
    return () if data is None else tuple(zlib.crc32(np.ascontiguousarray(a).data) for a in (data.pixels, data.y))


def checked_images(plugin: str, x: NDArray[np.generic], shape: tuple[int, ...]) -> FloatArray:
    """`x` as float32 in [0, 1] with rounding clipped.

    Raises:
        RuleBroken: another shape, another kind of number, NaN, or values out of range.
    """
    if x.shape != shape:
        raise RuleBroken(f"{plugin} returned images of shape {x.shape}; expected {shape}")
    if not np.issubdtype(x.dtype, np.floating):
        raise RuleBroken(f"{plugin} returned images of dtype {x.dtype}; expected float32")
    if x.size == 0:
        return x.astype(np.float32)
    low, high = float(x.min()), float(x.max())
    if not np.isfinite(low + high):
        raise RuleBroken(f"{plugin} returned NaN or infinite values")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise RuleBroken(f"{plugin} returned values in [{low:g}, {high:g}]; images lie in [0, 1]")
    return x.astype(np.float32).clip(0, 1)


def within_budget(plugin: str, before: FloatArray, after: FloatArray, threat: ThreatModel) -> FloatArray:
    """`after`, moved back onto the budget where it exceeds it by rounding.

    Raises:
        RuleBroken: an image moved further than the threat model allows.
    """
    if threat.epsilon is None or threat.norm is None or threat.budget == Budget.MINIMAL:
        return after
    far = distortion(before, after).in_norm(threat.norm)
    worst = float(far.max(initial=0.0))
    if worst > threat.epsilon + ROUNDING:
        over = int((far > threat.epsilon + ROUNDING).sum())
        raise RuleBroken(
            f"{plugin} exceeded its budget: {threat.norm} {worst:.6g} > epsilon {threat.epsilon:.6g}"
            f" on {over} of {len(far)} images"
        )
    if worst <= threat.epsilon or threat.norm == Norm.L0:
        return after
    change = after - before
    if threat.norm == Norm.LINF:
        change = change.clip(-threat.epsilon, threat.epsilon)
    else:
        scale = np.minimum(1.0, threat.epsilon / np.maximum(far, 1e-12))
        change = change * scale.reshape(-1, 1, 1, 1)
    return (before + change).clip(0, 1).astype(np.float32)


def checked_poison(plugin: str, delta: Poisoned, train: ArrayDataset, threat: ThreatModel) -> Poisoned:
    """`delta` with rounding clipped.

    Raises:
        RuleBroken: rows, images, labels or their number are not what the contract and the threat model allow.
    """
    rows, n = np.asarray(delta.rows), len(train)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise RuleBroken(f"{plugin} returned rows of shape {rows.shape} and dtype {rows.dtype}; expected (M,) int64")
    if len(rows) and not (rows.min() >= 0 and rows.max() < n):
        raise RuleBroken(f"{plugin} poisoned rows outside 0..{n - 1}")
    if len(np.unique(rows)) != len(rows):
        raise RuleBroken(f"{plugin} poisoned a row twice")
    y = np.asarray(delta.y)
    if y.shape != rows.shape or not np.issubdtype(y.dtype, np.integer):
        raise RuleBroken(
            f"{plugin} returned labels of shape {y.shape} and dtype {y.dtype}; expected {rows.shape} int64"
        )
    if len(y) and not (y.min() >= 0 and y.max() < train.classes):
        raise RuleBroken(f"{plugin} returned labels outside 0..{train.classes - 1}")
    _check_fraction(plugin, len(rows), n, threat)
    if threat.label_changes is False and (changed := int((y != train.y[rows]).sum())):
        raise RuleBroken(f"{plugin} changed {changed} labels; the threat model allows none")
    before = train.rows(rows).x
    x = within_budget(plugin, before, checked_images(plugin, np.asarray(delta.x), before.shape), threat)
    return Poisoned(rows.astype(np.int64), x, y.astype(np.int64), dict(delta.state))


def _check_fraction(plugin: str, poisoned: int, n: int, threat: ThreatModel) -> None:
    if threat.poison_fraction is not None and poisoned > np.ceil(threat.poison_fraction * n - 1e-9):
        raise RuleBroken(
            f"{plugin} exceeded its budget: {poisoned} of {n} rows poisoned;"
            f" the threat model allows a poison fraction of {threat.poison_fraction:g}"
        )


def checked_labels(plugin: str, labels: NDArray[np.generic], count: int, classes: int) -> IntArray:
    """(count,) int64 predicted labels.

    Raises:
        RuleBroken: another shape, or labels that do not exist.
    """
    if labels.shape != (count,):
        raise RuleBroken(f"{plugin} predicted labels of shape {labels.shape}; expected ({count},)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise RuleBroken(f"{plugin} predicted labels of dtype {labels.dtype}; expected int64")
    if count and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise RuleBroken(f"{plugin} predicted labels outside 0..{classes - 1}")
    return labels.astype(np.int64)


def checked_sanitised(plugin: str, verdict: Sanitised, train: ArrayDataset) -> Sanitised:
    """What a sanitiser said of `train`.

    Raises:
        RuleBroken: no (N,) mask, no row is kept, or labels that do not exist.
    """
    keep, n = np.asarray(verdict.keep), len(train)
    if keep.shape != (n,) or keep.dtype != np.bool_:
        raise RuleBroken(f"{plugin} returned a mask of shape {keep.shape}, {keep.dtype}; expected ({n},) bool")
    if not keep.any():
        raise RuleBroken(f"{plugin} removed the whole training set")
    if verdict.y is None:
        return Sanitised(keep)
    return Sanitised(keep, checked_labels(plugin, np.asarray(verdict.y), n, train.classes))


def checked_state(plugin: str, state: Arrays) -> Arrays:
    """The arrays of a fitted model.

    Raises:
        RuleBroken: something is no array, or a weight is NaN.
    """
    for name, array in state.items():
        if not isinstance(array, np.ndarray):
            raise RuleBroken(f"{plugin} gave {type(array).__name__} as {name} of its state; expected a numpy array")
        if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
            raise RuleBroken(f"{plugin} was fitted to NaN in {name}: the training diverged")
    return state


def checked_finding(plugin: str, finding: Finding, classes: int) -> dict[str, Any]:
    """What an inspection said, as plain JSON.

    Raises:
        RuleBroken: the score is not finite, or it names labels that do not exist.
    """
    score, labels = float(finding.score), [int(label) for label in finding.labels]
    if not np.isfinite(score):
        raise RuleBroken(f"{plugin} found a score of {score}; expected a finite number")
    if not all(0 <= label < classes for label in labels):
        raise RuleBroken(f"{plugin} named labels outside 0..{classes - 1}: {labels}")
    return {"accused": bool(finding.accused), "score": score, "labels": labels}


def checked_suspicion(plugin: str, scores: NDArray[np.generic], count: int) -> NDArray[np.float64]:
    """(count,) a detector's scores.

    Raises:
        RuleBroken: another shape, or not finite.
    """
    if scores.shape != (count,):
        raise RuleBroken(f"{plugin} returned scores of shape {scores.shape}; expected ({count},)")
    suspicion = scores.astype(np.float64)
    if not np.isfinite(suspicion).all():
        raise RuleBroken(f"{plugin} returned NaN or infinite scores")
    return suspicion


def checked_certificate(plugin: str, given: Certificate, count: int, classes: int) -> Certificate:
    """`given` for `count` inputs.

    Raises:
        RuleBroken: other shapes, labels that do not exist, a negative or NaN radius, or no probability as confidence.
    """
    prediction, radius = np.asarray(given.prediction), np.asarray(given.radius, np.float64)
    if prediction.shape != (count,) or radius.shape != (count,):
        raise RuleBroken(f"{plugin} certified {prediction.shape} predictions and {radius.shape} radii of ({count},)")
    checked_labels(plugin, np.where(prediction == -1, 0, prediction), count, classes)
    if not (radius >= 0).all():
        raise RuleBroken(f"{plugin} certified a radius that is negative or NaN")
    if not 0 < given.confidence <= 1:
        raise RuleBroken(f"{plugin} certified with a confidence of {given.confidence}; expected one in (0, 1]")
    return replace(given, prediction=prediction.astype(np.int64), radius=radius)


def distortion_scalars(moved: Distortion) -> dict[str, float]:
    """Mean and largest distortion of the attacked images, by metric name."""
    scalars: dict[str, float] = {}
    for norm in ("l0", "l2", "linf"):
        far = moved.in_norm(norm)
        if len(far):
            scalars[f"budget-{norm}-mean"] = float(far.mean())
            scalars[f"budget-{norm}-max"] = float(far.max())
    return scalars


def poison_scalars(deltas: Sequence[Poisoned], train: ArrayDataset) -> dict[str, float]:
    """What poisoning really changed, averaged over trials: fraction of rows, labels, and distances of the images."""
    fractions = [len(d.rows) / len(train) for d in deltas]
    labels = [int((d.y != train.y[d.rows]).sum()) for d in deltas]
    moved = [distortion(train.rows(d.rows).x, d.x) for d in deltas]
    joined = Distortion(
        l0=np.concatenate([m.l0 for m in moved]),
        l2=np.concatenate([m.l2 for m in moved]),
        linf=np.concatenate([m.linf for m in moved]),
    )
    counted = {"poisoned-fraction": float(np.mean(fractions)), "labels-changed": float(np.mean(labels))}
    return counted | distortion_scalars(joined)


def warnings_of(
    metrics: Mapping[str, float],
    answers: IntArray,
    classes: int,
    moved: Distortion | None,
    *,
    gradients: bool,
    poisoned: bool,
    fitted: float | None,
) -> list[dict[str, str]]:
    """Automatic warnings about one scored cell, as {id, message}.

    Args:
        metrics: the cell's metrics.
        answers: predictions on the clean test set.
        classes: K.
        moved: distortion of inputs attacked at inference.
        gradients: whether the attack follows gradients.
        poisoned: whether the training set was poisoned.
        fitted: accuracy on the training set as it was fitted.
    """
    found: list[dict[str, str]] = []

    def warn(name: str, message: str) -> None:
        found.append({"id": name, "message": message})

    if moved is not None and gradients and len(moved.linf) and (still := float((moved.linf == 0).mean())) > 0.5:
        warn(
            "zero-gradients",
            f"{still:.0%} of the inputs did not move: zero or masked gradients (Carlini et al. 2019, section 5.4)",
        )
    if len(answers) >= 20 and (share := float(np.bincount(answers, minlength=classes).max() / len(answers))) > 0.9:
        warn("collapsed", f"{share:.0%} of the predictions on clean images are one class")
    if poisoned and fitted is not None and fitted < 0.95:
        warn("not-fitted", f"the poisoned training set was fitted to {fitted:.1%} only: the poison is not fully tested")
    if metrics.get("clean-accuracy", 1.0) <= 1.5 / classes and not poisoned:
        warn("near-chance", "clean accuracy is close to chance: robustness of this model means nothing")
    return found
