"""From what the stages of one cell left to the numbers of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Certificate, Evidence
from sparring.data import ArrayDataset, Distortion, IntArray, distortion
from sparring.judge import distortion_scalars, poison_scalars, warnings_of
from sparring.record import pack_bits, pack_halves, ranges
from sparring.stage import RuleBroken, Stage
from sparring.threat import Access, ThreatModel
from sparring.workshop import Workshop

if TYPE_CHECKING:
    pass


def measured(stage: Stage, shop: Workshop) -> dict[str, Any]:
    """The `Scored` part of a record, as plain JSON (see `sparring.record.Scored`)."""
    data, threat = shop.data(stage), stage.threat or ThreatModel()
    moved = _moved(stage, shop, data.test)
    evidence = _evidence(stage, shop, threat, moved)
    metrics = _metrics(stage, shop, evidence)
    final = evidence.attacked if evidence.attacked is not None else evidence.clean_prediction
    truth = evidence.y if evidence.attacked is not None and evidence.y is not None else evidence.y_test
    fitted = metrics.get("training-accuracy")
    return {
        "metrics": metrics,
        "confusion": confusion(truth, final, evidence.classes),
        "samples": _samples(evidence, moved, threat),
        "warnings": warnings_of(
            metrics,
            evidence.clean_prediction,
            evidence.classes,
            moved if "perturbing" in _kinds(stage, shop) else None,
            gradients="gradients" in _kinds(stage, shop),
            poisoned="poison" in stage.inputs,
            fitted=fitted,
        ),
        "trials": list(evidence.trials) if evidence.trials else None,
    }


def confusion(truth: IntArray, predicted: IntArray, classes: int) -> list[list[int]]:
    """Counts; rows are true classes, columns predicted ones."""
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return [[int(c) for c in row] for row in counts.reshape(classes, classes)]


def _kinds(stage: Stage, shop: Workshop) -> set[str]:
    spec = shop.catalogue.attack(stage.plugins["attack"].selection.name)
    kinds = {"gradients"} if Access.GRADIENTS in spec.needs else set()
    if "attack" in stage.inputs and "forward" in shop.artifact(stage, "attack").meta:
        kinds.add("perturbing")
    return kinds


def _metrics(stage: Stage, shop: Workshop, evidence: Evidence) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, metric in sorted(shop.metrics(stage).items()):
        value = metric.measure(evidence)
        if value is None:
            continue
        number = float(value)
        if not np.isfinite(number):
            raise RuleBroken(f"metric {name} measured {number}; expected a finite number or None")
        found[name] = _rounded(number)
    for name, (labels, answers) in evidence.probes.items():
        found[f"probe-{name}"] = _rounded(float((labels == answers).mean())) if len(labels) else 0.0
    return found


def _rounded(number: float) -> float:
    """Nine significant digits: more are the arithmetic's, and would change with the order of a sum."""
    return float(f"{number:.9g}")


def _moved(stage: Stage, shop: Workshop, test: ArrayDataset) -> Distortion | None:
    if "attack" not in stage.inputs:
        return None
    arrays = shop.artifact(stage, "attack").arrays
    return distortion(test.rows(arrays["rows"]).x, arrays["x"])


def _labels(stage: Stage, shop: Workshop, role: str) -> IntArray | None:
    return shop.artifact(stage, role).arrays["labels"] if role in stage.inputs else None


def _evidence(stage: Stage, shop: Workshop, threat: ThreatModel, moved: Distortion | None) -> Evidence:
    data = shop.data(stage)
    clean = _labels(stage, shop, "clean")
    assert clean is not None, "every cell is asked for the clean test set"
    sample = _sample(stage, shop)
    trials, y_test, answers = _targeted(stage, shop, data.test.y, clean)
    detection = _detection(stage, shop)
    return Evidence(
        classes=data.test.classes,
        threat=threat,
        y_test=y_test,
        clean_prediction=answers,
        twin_prediction=_tiled(_labels(stage, shop, "twin"), len(y_test)),
        y_train=shop.training_labels(stage),
        train_prediction=_labels(stage, shop, "train"),
        sample=sample,
        y=None if sample is None else data.test.y[sample],
        clean=None if sample is None else clean[sample],
        attacked=_labels(stage, shop, "attacked"),
        goal=_goal(stage, shop),
        poisoned=_truth(stage, shop, len(data.fit)),
        kept=None if (verdict := shop.sanitised(stage)) is None else verdict.keep,
        certificate=_certificate(stage, shop),
        trials=trials,
        probes=_probes(stage, shop),
        scalars=_scalars(stage, shop, moved),
        **detection,
    )


def _sample(stage: Stage, shop: Workshop) -> IntArray | None:
    for role in ("attack", "certify"):
        if role in stage.inputs:
            return shop.artifact(stage, role).arrays["rows"]
    return None


def _goal(stage: Stage, shop: Workshop) -> IntArray | None:
    return shop.artifact(stage, "attack").arrays["goal"] if "attack" in stage.inputs else None


def _truth(stage: Stage, shop: Workshop, rows: int) -> NDArray[np.bool_] | None:
    delta = shop.poisoned(stage)
    if delta is None:
        return None
    truth = np.zeros(rows, dtype=bool)
    truth[delta.rows] = True
    return truth


def _targeted(
    stage: Stage, shop: Workshop, y_test: IntArray, clean: IntArray
) -> tuple[tuple[int, int] | None, IntArray, IntArray]:
    """Successes of targeted trials, and the clean answers of all trials' models one after the other."""
    roles = sorted((r for r in stage.inputs if r.startswith("target.")), key=lambda r: int(r.partition(".")[2]))
    if not roles:
        return None, y_test, clean
    goals = shop.artifact(stage, "poison").arrays["target/goal"]
    answers = [shop.artifact(stage, role).arrays["labels"][0] for role in roles]
    hits = int(sum(int(a == g) for a, g in zip(answers, goals, strict=True)))
    cleans = [shop.artifact(stage, r.replace("target.", "clean.")).arrays["labels"] for r in roles]
    return (hits, len(roles)), np.tile(y_test, len(roles)), np.concatenate(cleans)


def _tiled(labels: IntArray | None, length: int) -> IntArray | None:
    return None if labels is None else np.tile(labels, max(1, length // max(1, len(labels))))


def _detection(stage: Stage, shop: Workshop) -> dict[str, Any]:
    if "detect" not in stage.inputs:
        return {}
    arrays = shop.artifact(stage, "detect").arrays
    threshold = float(arrays["threshold"])
    found: dict[str, Any] = {"clean_suspicion": arrays["clean"], "clean_flagged": arrays["clean"] > threshold}
    if "attacked" in arrays:
        found |= {"suspicion": arrays["attacked"], "flagged": arrays["attacked"] > threshold}
    return found


def _certificate(stage: Stage, shop: Workshop) -> Certificate | None:
    if "certify" not in stage.inputs:
        return None
    artifact = shop.artifact(stage, "certify")
    return Certificate(
        prediction=artifact.arrays["prediction"],
        radius=artifact.arrays["radius"],
        unit=artifact.meta["unit"],
        confidence=artifact.meta["confidence"],
    )


def _probes(stage: Stage, shop: Workshop) -> dict[str, tuple[IntArray, IntArray]]:
    if "probe" not in stage.inputs:
        return {}
    given, answers = shop.artifact(stage, "probe").arrays, shop.artifact(stage, "probed").arrays
    return {name: (given[f"{name}/y"], answers[name]) for name in sorted(answers)}


def _scalars(stage: Stage, shop: Workshop, moved: Distortion | None) -> dict[str, float]:
    """What the judge measured itself: budgets, queries, and the answers before a repair."""
    scalars: dict[str, float] = {}
    if moved is not None:
        scalars |= distortion_scalars(moved)
        meta = shop.artifact(stage, "attack").meta
        if "forward" in meta:
            scalars |= {"forward-queries": meta["forward"], "gradient-queries": meta["gradient"]}
    if "poison" in stage.inputs:
        trials = sum(name.endswith("/rows") for name in shop.artifact(stage, "poison").arrays)
        deltas = [delta for t in range(trials) if (delta := shop.poisoned(stage, t)) is not None]
        poisoned = poison_scalars(deltas, shop.data(stage).fit)
        scalars = poisoned | scalars  # for backdoors, the trigger's distortion is the one that is reported
    if (unmended := _labels(stage, shop, "before")) is not None:
        scalars["before-repair-clean-accuracy"] = float((unmended == shop.data(stage).test.y).mean())
    if (before := _labels(stage, shop, "before_attacked")) is not None and (goal := _goal(stage, shop)) is not None:
        scalars["before-repair-asr"] = float((before == goal).mean()) if len(goal) else 0.0
    if (finding := shop.finding(stage)) is not None:
        scalars["accused"] = float(finding.accused)
    return scalars


def _samples(evidence: Evidence, moved: Distortion | None, threat: ThreatModel) -> dict[str, Any] | None:
    if evidence.sample is None or evidence.y is None or evidence.clean is None:
        return None
    packed: dict[str, Any] = {
        "indices": ranges(evidence.sample),
        "clean_correct": pack_bits(evidence.clean == evidence.y),
    }
    if evidence.attacked is not None:
        right = evidence.attacked == evidence.y
        packed["attacked_correct"] = pack_bits(right if evidence.flagged is None else right | evidence.flagged)
    if moved is not None:
        packed["distortion"] = pack_halves(moved.in_norm(threat.norm or "l2"))
    return packed
