"""How the generator of DeepConfuse is trained, as data; the presets. Import-light."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sparring.training import Schedule


class Variant(StrEnum):
    UNTARGETED = "untargeted"
    LABEL_SPECIFIC = "label-specific"


class Algorithm(StrEnum):
    STORED = "stored"
    MEMORY_EFFICIENT = "memory-efficient"


class Preset(StrEnum):
    QUICK = "quick"
    PAPER = "paper"


class Keep(StrEnum):
    LAST = "last"
    BEST = "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a generator is trained.

    Attributes:
        variant: `UNTARGETED` climbs the loss at y; `LABEL_SPECIFIC` descends that at y + 1 mod K (section 4).
        algorithm: `STORED` is algorithm 1, `MEMORY_EFFICIENT` algorithm 2.
        keep: which trial's generator is returned.
        warm_up: steps in which the generator learns to mislead clean classifiers, before the first trial; 0 in the
            paper. See `confuse_warm_up`.
        trials: T.
        pool: rows that the classifier of one trial is trained on; 0: all.
        passes: over the pool, of one trial.
        generator_every: steps of the classifier for each of the generator; 1 in the paper.
        classifier_rate: α_f.
        momentum: of the classifier's SGD; 0 in the paper.
        pseudo_rate: step of the pseudo-update; α_f in the paper.
        generator_rate: α_g, of Adam (the peak, with a schedule).
        schedule: of α_g over all trials; constant in the paper.
        equal_steps: scale every gradient of the generator to length 1. The gradients shrink by orders of magnitude
            while a classifier learns, so that Adam, which divides by a long memory of them, otherwise hears the first
            steps of each trial only; there, hindering the classifier pays more than misleading it.
        batch_size: b.
        channels, fc, batch_norm: of the classifier; see `Classifier`.
        widths: of the generator; see `Generator`.
    """

    variant: Variant
    algorithm: Algorithm
    keep: Keep
    warm_up: int
    trials: int
    pool: int
    passes: float
    generator_every: int
    classifier_rate: float
    momentum: float
    pseudo_rate: float
    generator_rate: float
    schedule: Schedule
    equal_steps: bool
    batch_size: int
    channels: tuple[int, ...]
    fc: int
    batch_norm: bool
    widths: tuple[int, ...]


def values_of(preset: Preset, image_channels: int, rows: int) -> dict[str, Any]:
    """The settings that a preset stands for, variant and algorithm aside.

    `PAPER` is section 5: 500 trials, each one pass over all rows; classifier and learning rates as published for MNIST
    (grey images) and CIFAR-10 (coloured ones).

    `QUICK` is ours, chosen on MNIST's training rows: a warm-up, then short trials in small steps. Of all its trials'
    generators the one that did most harm is kept; that may be the warm-up's, which is the first. Small training sets
    get fewer steps and trials: at most one step for every row, and a trial for every ten.
    """
    if preset is Preset.PAPER:
        grey = image_channels == 1
        return {
            "warm_up": 0,
            "trials": 500,
            "pool": 0,
            "passes": 1.0,
            "generator_every": 1,
            "classifier_rate": 0.01,
            "momentum": 0.0,
            "pseudo_rate": 0.01,
            "generator_rate": 1e-4,
            "schedule": Schedule.CONSTANT,
            "equal_steps": False,
            "batch_size": 64,
            "channels": (20, 50) if grey else (32, 64, 128, 128, 128),
            "fc": 500 if grey else 0,
            "batch_norm": True,
            "widths": (16, 32, 64, 128),
            "keep": Keep.LAST,
        }
    return {
        "warm_up": min(1200, rows),
        "trials": min(12, max(1, rows // 10)),
        "pool": 8192,
        "passes": 2.0,
        "generator_every": 4,
        "classifier_rate": 0.02,
        "momentum": 0.9,
        "pseudo_rate": 0.1,
        "generator_rate": 1e-4,
        "schedule": Schedule.CONSTANT,
        "equal_steps": True,
        "batch_size": 64,
        "channels": (20, 50),
        "fc": 200,
        "batch_norm": False,
        "widths": (16, 32, 64, 128),
        "keep": Keep.BEST,
    }
