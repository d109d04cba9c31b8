"""Sparring's own victims."""

from __future__ import annotations

from collections.abc import Iterable

from sparring.hookspecs import hookimpl
from sparring.plugin import VictimSpec
from sparring_victims import (
    autoencoder_softmax,
    cnn,
    densenet,
    feature_svm,
    fed_avg,
    linear_svm,
    logistic,
    maxout,
    mlp,
    random_forest,
    rbf_svm,
    resnet,
    vgg,
)


@hookimpl
def sparring_victims() -> Iterable[VictimSpec]:
    return (
        mlp.SPEC,
        cnn.SPEC,
        vgg.SPEC,
        resnet.SPEC,
        densenet.SPEC,
        logistic.SPEC,
        linear_svm.SPEC,
        rbf_svm.SPEC,
        random_forest.SPEC,
        feature_svm.SPEC,
        fed_avg.SPEC,
        maxout.SPEC,
        autoencoder_softmax.SPEC,
    )
