"""From what the stages of one cell left to the numbers of its record."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring import media
from sparring.contracts import Certificate, Evidence
from sparring.data import ArrayDataset, Distortion, IntArray, distortion, poisoned_rows
from sparring.judge import ROUNDING, distortion_scalars, poison_scalars, rules_kept, warnings_of
from sparring.plugin import Act
from sparring.record import pack_bits, pack_halves, ranges
from sparring.rounds import malicious_clients
from sparring.stage import RuleBroken, Stage
from sparring.threat import Access, Norm, ThreatModel
from sparring.workshop import Workshop


def measured(stage: Stage, shop: Workshop) -> dict[str, Any]:
    """The `Scored` part of a record, as plain JSON (see `sparring.record.Scored`)."""
    data, threat = shop.data(stage), stage.threat or ThreatModel()
    moved = _moved(stage, shop, data.test)
    evidence = _evidence(stage, shop, threat, moved)
    contradicted = contradictions(stage, shop, evidence, moved)
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
            poisoned="twin" in stage.inputs,
            fitted=fitted,
        )
        + contradicted,
        "trials": list(evidence.trials) if evidence.trials else None,
    }


def kept_files(stage: Stage, shop: Workshop) -> dict[str, NDArray[np.uint8]]:
    """What the suite wants kept beside the numbers, as files, by kind; kinds that a cell does not have are left out."""
    wanted, found = stage.settings.get("keep", ()), {}
    if "state" in wanted and (delta := shop.poisoned(stage)) is not None and delta.state:
        meta = shop.artifact(stage, "poison").meta
        found["state"] = media.packed(delta.state, {"label": meta["label"], "seed": meta["seed"]})
    curves = {role: shop.artifact(stage, role).meta["curves"] for role in ("poison", "fit") if role in stage.inputs}
    points = {f"{role}/{name}": np.array(c) for role, told in curves.items() for name, c in told.items()}
    if "curves" in wanted and points:
        found["curves"] = media.packed(points, {"label": shop.artifact(stage, "fit").meta["label"]})
    if "projection" in stage.inputs:
        projected = shop.artifact(stage, "projection")
        found["projection"] = media.packed(projected.arrays, {"label": projected.meta["label"]})
    return found


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
        with rules_kept(f"metric {name}"):
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
    return locked(
        Evidence(
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
            certified_y=data.test.y[shop.artifact(stage, "certify").arrays["rows"]]
            if "certify" in stage.inputs
            else None,
            trials=trials,
            probes=_probes(stage, shop),
            scalars=_scalars(stage, shop, moved),
            **detection,
        )
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
    return None if delta is None else poisoned_rows(delta, rows)


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
    if Act.CORRUPT in shop.catalogue.attack(stage.plugins["attack"].selection.name).acts:
        fraction, clients = (stage.threat or ThreatModel()).poison_fraction or 0.0, shop.plugin(stage, "victim").clients
        scalars["malicious-clients"] = malicious_clients(fraction, clients) / clients
    if (unmended := _labels(stage, shop, "before")) is not None:
        scalars["before-repair-clean-accuracy"] = float((unmended == shop.data(stage).test.y).mean())
    if (before := _labels(stage, shop, "before_attacked")) is not None and (goal := _goal(stage, shop)) is not None:
        scalars["before-repair-asr"] = float((before == goal).mean()) if len(goal) else 0.0
    if (finding := shop.finding(stage)) is not None:
        scalars["accused"] = float(finding.accused)
    return scalars


def contradictions(stage: Stage, shop: Workshop, evidence: Evidence, moved: Distortion | None) -> list[dict[str, str]]:
    """Warnings about certified inputs whose answer the attack changed within the certified radius.

    Raises:
        RuleBroken: the certificate claims to hold for certain.
    """
    certificate = evidence.certificate
    if certificate is None or moved is None or certificate.unit not in set(Norm) or evidence.attacked is None:
        return []
    rows = shop.artifact(stage, "certify").arrays["rows"]
    if evidence.sample is None or not np.array_equal(
        rows, evidence.sample
    ):  # triggers are put on some of the sampled images only
        return []
    inside = moved.in_norm(certificate.unit) < certificate.radius - ROUNDING
    held = (certificate.prediction >= 0) & (certificate.prediction == evidence.clean) & inside
    broken = int((held & (evidence.attacked != certificate.prediction)).sum())
    if not broken:
        return []
    told = f"{broken} of {int(held.sum())} inputs get another answer inside their certified {certificate.unit} radius"
    if certificate.confidence == 1:
        raise RuleBroken(f"{shop.name(stage, 'defence')} certified what does not hold: {told}")
    return [{"id": "certificate-contradicted", "message": told}]


def locked(evidence: Evidence) -> Evidence:
    """The same, with arrays that no metric can write to: all metrics see the same."""
    for field in fields(evidence):
        value = getattr(evidence, field.name)
        for array in value.values() if isinstance(value, dict) else (value,):
            for part in array if isinstance(array, tuple) else (array,):
                if isinstance(part, np.ndarray):
                    part.flags.writeable = False
    return evidence


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
