"""First-party defences."""

from __future__ import annotations

from collections.abc import Iterable

from sparring.hookspecs import hookimpl
from sparring.plugin import DefenceSpec
from sparring_defences import activation_clustering, adversarial_training, feature_squeezing, jpeg, none


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    return (
        none.SPEC,
        adversarial_training.SPEC,
        feature_squeezing.SPEC,
        jpeg.SPEC,
        activation_clustering.SPEC,
    )
