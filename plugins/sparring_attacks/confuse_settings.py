"""How the generator of DeepConfuse is trained, as data; the presets. Import-light."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
        trials: T.
        pool: rows that the classifier of one trial is trained on; 0: all.
        passes: over the pool, of one trial.
        generator_every: steps of the classifier for each of the generator; 1 in the paper.
        classifier_rate: α_f.
        momentum: of the classifier's SGD; 0 in the paper.
        pseudo_rate: step of the pseudo-update; α_f in the paper.
        generator_rate: α_g, of Adam.
        batch_size: b.
        channels, fc, batch_norm: of the classifier; see `Classifier`.
    """

    variant: Variant
    algorithm: Algorithm
    keep: Keep
    trials: int
    pool: int
    passes: float
    generator_every: int
    classifier_rate: float
    momentum: float
    pseudo_rate: float
    generator_rate: float
    batch_size: int
    channels: tuple[int, ...]
    fc: int
    batch_norm: bool


def values_of(preset: Preset, image_channels: int) -> dict[str, Any]:
    """The settings that a preset stands for, variant and algorithm aside.

    `PAPER` is section 5: 500 trials, each one pass over all rows; classifier and learning rates as published for MNIST
    (grey images) and CIFAR-10 (coloured ones).
    """
    if preset is Preset.PAPER:
        grey = image_channels == 1
        return {
            "trials": 500,
            "pool": 0,
            "passes": 1.0,
            "generator_every": 1,
            "classifier_rate": 0.01,
            "momentum": 0.0,
            "pseudo_rate": 0.01,
            "generator_rate": 1e-4,
            "batch_size": 64,
            "channels": (20, 50) if grey else (32, 64, 128, 128, 128),
            "fc": 500 if grey else 0,
            "batch_norm": True,
            "keep": Keep.LAST,
        }
    return {
        "trials": 60,
        "pool": 2048,
        "passes": 4.0,
        "generator_every": 2,
        "classifier_rate": 0.1,
        "momentum": 0.0,
        "pseudo_rate": 0.1,
        "generator_rate": 3e-4,
        "batch_size": 64,
        "channels": (8, 16),
        "fc": 64,
        "batch_norm": False,
        "keep": Keep.BEST,
    }
