"""Records that look like those of a real board, made through the pydantic model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.record import (
    CellRecord,
    Failed,
    NotApplicable,
    Outcome,
    PluginUse,
    Provenance,
    Record,
    Samples,
    Scored,
    Warned,
    pack_bits,
    ranges,
)
from sparring.stage import FailureKind

PROVENANCE = Provenance(
    suite_digest="5f" * 32,
    root_seed=0,
    sparring="0.1.0",
    python="3.11.9",
    platform="Linux x86_64",
    cpu="AMD EPYC 7763",
    device="cpu",
    threads=1,
    versions={"torch": "2.15.0", "numpy": "2.4.6", "torchattacks": "3.5.1"},
    commit="0123abc",
)

EVASION = {"when": "inference", "goal": "evasion", "knowledge": "white-box", "norm": "linf"}


def record(
    attack: str = "none",
    defence: str = "none",
    repetition: int = 0,
    outcome: Outcome | None = None,
    *,
    dataset: str = "digits",
    victim: str = "cnn",
    threat: dict[str, Any] | None = None,
    when: str | None = None,
    seconds: float = 1.0,
) -> Record:
    """One record; a scored one with 90 % clean accuracy unless `outcome` says otherwise."""
    threat = threat or {}
    cell_id = f"{dataset}/{victim}/{attack}/{defence}/r{repetition}"
    base = defence.partition("@")[0]

    def use(selector: str) -> PluginUse:
        return PluginUse(selector=selector, name=selector.partition("[")[0])

    return Record(
        key=hashlib.sha256(cell_id.encode("utf-8", "surrogatepass")).hexdigest(),
        cell=CellRecord(
            id=cell_id,
            dataset=use(dataset),
            victim=use(victim),
            attack=use(attack),
            defence=use(base),
            threat=threat,
            when=when or str(threat.get("when", "never")),
            guarded=base != defence,
            attack_label=attack,
            defence_label=defence,
            repetition=repetition,
        ),
        outcome=outcome if outcome is not None else scored({"clean-accuracy": 0.9}),
        seconds={"fit": seconds, "measure": 0.01},
        provenance=PROVENANCE,
    )


def scored(metrics: dict[str, float], **more: Any) -> Scored:
    return Scored(metrics=metrics, confusion=more.pop("confusion", [[9, 1], [2, 8]]), **more)


def survivors(*flags: bool, first_row: int = 0) -> Samples:
    """Samples of which all were right before the attack, and `flags` after."""
    after = np.array(flags, dtype=bool)
    rows = np.arange(first_row, first_row + len(after))
    return Samples(
        indices=ranges(rows), clean_correct=pack_bits(np.ones_like(after)), attacked_correct=pack_bits(after)
    )


def evasion(attack: str, defence: str, repetition: int, *flags: bool, **more: Any) -> Record:
    """A scored attack at inference with these per-sample outcomes."""
    outcome = scored({"robust-accuracy": float(np.mean(flags))}, samples=survivors(*flags))
    return record(attack, defence, repetition, outcome, threat=EVASION | more.pop("threat", {}), **more)


ATTACKS: dict[str, tuple[dict[str, Any], float]] = {
    "none": ({}, 0.97),
    "gaussian-noise[epsilon=0.1]": ({**EVASION, "knowledge": "none", "epsilon": 0.1}, 0.95),
    "fgsm[epsilon=0.1]": ({**EVASION, "epsilon": 0.1}, 0.62),
    "pgd[epsilon=0.1,steps=20]": ({**EVASION, "epsilon": 0.1}, 0.41),
    "pgd[epsilon=0.3,steps=40,restarts=3]": ({**EVASION, "epsilon": 0.3}, 0.04),
    "carlini-wagner": ({**EVASION, "norm": "l2", "budget": "minimal"}, 0.0),
    "label-flip[poison_fraction=0.2]": ({"when": "training", "goal": "availability", "poison_fraction": 0.2}, 0.78),
    "badnets[poison_fraction=0.05]": ({"when": "training", "goal": "backdoor", "poison_fraction": 0.05}, 0.96),
    "bullseye-polytope": ({"when": "training", "goal": "targeted", "poison_fraction": 0.01}, 0.96),
}
DEFENCES = (
    "none",
    "adversarial-training[epsilon=0.1]",
    "jpeg@oblivious",
    "jpeg@adaptive",
    "activation-clustering",
    "feature-squeezing[bits=3]@oblivious",
    "feature-squeezing[bits=3]@adaptive",
)
HELP = {"adversarial-training[epsilon=0.1]": 0.75, "jpeg@oblivious": 0.55, "jpeg@adaptive": 0.1}


def realistic(victims: tuple[str, ...] = ("cnn", "mlp", "random-forest"), repetitions: int = 3) -> list[Record]:
    """A whole board with failures, timeouts, cells that make no sense, and one cell that never ran."""
    rng = np.random.default_rng(0)
    made = [
        found
        for victim in victims
        for attack in ATTACKS
        for defence in DEFENCES
        for found in _cells(victim, attack, defence, repetitions, rng)
    ]
    return [found for found in made if found.cell.id != "digits/mlp/fgsm[epsilon=0.1]/none/r2"]


def _cells(victim: str, attack: str, defence: str, repetitions: int, rng: np.random.Generator) -> Iterator[Record]:
    threat, level = ATTACKS[attack]
    evades = threat.get("when") == "inference"
    base, _, knowledge = defence.partition("@")
    if knowledge and not evades:
        if knowledge == "adaptive":
            return
        defence = base
    full = threat | ({"adaptive": knowledge == "adaptive"} if knowledge and evades else {})
    for repetition in range(repetitions):
        outcome = _outcome(victim, attack, defence, repetition, level, threat, rng)
        yield record(attack, defence, repetition, outcome, victim=victim, threat=full, seconds=float(rng.random()))


def _outcome(
    victim: str,
    attack: str,
    defence: str,
    repetition: int,
    level: float,
    threat: dict[str, Any],
    rng: np.random.Generator,
) -> Outcome:
    name = attack.partition("[")[0]
    if victim == "random-forest" and name in ("fgsm", "pgd", "carlini-wagner"):
        return NotApplicable(reasons=[f"{name} needs gradients; random-forest offers scores"])
    if victim == "random-forest" and defence.startswith("adversarial-training"):
        return NotApplicable(reasons=["adversarial-training needs recipe; random-forest does not follow one"])
    if victim == "mlp" and defence == "activation-clustering" and repetition == 1:
        trace = 'Traceback (most recent call last):\n  File "activation_clustering.py", line 61, in sanitise\n'
        return Failed(
            kind=FailureKind.ERROR,
            stage="sanitise",
            error="ValueError: n_samples=1 should be >= n_clusters=2",
            traceback=trace + "ValueError: n_samples=1 should be >= n_clusters=2",
        )
    if victim == "mlp" and name == "pgd" and "restarts" in attack and defence.startswith("feature-squeezing"):
        return Failed(kind=FailureKind.TIMEOUT, stage="perturb", error="ran longer than 60 s")
    share = level + (1 - level) * HELP.get(defence, 0.05) if 0 < level < 0.9 else level
    after = rng.random(200) < share
    metrics = {"clean-accuracy": float(np.clip(0.97 + 0.01 * rng.standard_normal(), 0, 1))}
    if threat.get("when") == "inference":
        metrics |= {"robust-accuracy": float(after.mean()), "budget-linf-max": float(threat.get("epsilon", 0.4))}
        metrics |= {"budget-l2-mean": float(1.3 + 0.05 * rng.standard_normal()), "forward-queries": 40.0}
    elif threat.get("goal") == "backdoor":
        metrics |= {"asr": float(np.clip(0.985 + 0.01 * rng.standard_normal(), 0, 1)), "poisoned-fraction": 0.05}
    elif threat.get("goal") == "targeted":
        metrics |= {"asr": 0.35}
    elif threat.get("goal") == "availability":
        metrics |= {"clean-accuracy": float(after.mean()), "accuracy-drop": 0.97 - float(after.mean())}
    masked = defence == "jpeg@oblivious" and name == "pgd"
    return Scored(
        metrics=metrics,
        confusion=_confusion(after, rng),
        samples=_samples(after),
        warnings=[Warned(id="masked-gradients", message="fgsm beats pgd by 3.1 points")] if masked else [],
        trials=[7, 20] if threat.get("goal") == "targeted" else None,
    )


def _confusion(after: NDArray[np.bool_], rng: np.random.Generator) -> list[list[int]]:
    true = rng.integers(0, 10, len(after))
    predicted = np.where(after, true, rng.integers(0, 10, len(after)))
    matrix = np.zeros((10, 10), dtype=int)
    np.add.at(matrix, (true, predicted), 1)
    return [[int(count) for count in row] for row in matrix]


def _samples(after: NDArray[np.bool_]) -> Samples:
    rows = ranges(np.arange(len(after)))
    return Samples(indices=rows, clean_correct=pack_bits(np.ones_like(after)), attacked_correct=pack_bits(after))
