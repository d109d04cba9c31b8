"""First-party defences."""

from __future__ import annotations

from collections.abc import Iterable

from sparring.hookspecs import hookimpl
from sparring.plugin import DefenceSpec
from sparring_defences import (
    activation_clustering,
    adversarial_training,
    crown,
    cutout,
    deepcloak,
    dp_sgd,
    example_pool,
    fast_adversarial_training,
    feature_squeezing,
    feature_squeezing_detector,
    fine_pruning,
    free_adversarial_training,
    gaussian_augmentation,
    influence_filter,
    input_randomisation,
    interval_bounds,
    jpeg,
    knn_label,
    mixup,
    neural_cleanse,
    none,
    oracle_filters,
    partition_vote,
    randomised_smoothing,
    roni,
    spatial_smoothing,
    spectral_signatures,
    strip,
    trades,
)


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    return (
        none.SPEC,
        adversarial_training.SPEC,
        feature_squeezing.SPEC,
        jpeg.SPEC,
        activation_clustering.SPEC,
        spatial_smoothing.SPEC,
        input_randomisation.SPEC,
        randomised_smoothing.SPEC,
        randomised_smoothing.TRAINED,
        deepcloak.SPEC,
        neural_cleanse.SPEC,
        fine_pruning.SPEC,
        feature_squeezing_detector.SPEC,
        strip.SPEC,
        trades.SPEC,
        free_adversarial_training.SPEC,
        fast_adversarial_training.SPEC,
        example_pool.SPEC,
        mixup.SPEC,
        cutout.SPEC,
        gaussian_augmentation.SPEC,
        partition_vote.SPEC,
        dp_sgd.SPEC,
        spectral_signatures.SPEC,
        knn_label.SPEC,
        roni.SPEC,
        influence_filter.SPEC,
        oracle_filters.PERFECT,
        oracle_filters.RANDOM,
        interval_bounds.SPEC,
        crown.SPEC,
    )
