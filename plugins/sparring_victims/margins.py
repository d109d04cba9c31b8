"""A support vector machine as the last layer of a network with frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.contracts import Context
from sparring.data import ArrayDataset, Arrays, FloatArray
from sparring.model import NETWORK_OFFERS, Model, NetworkModel, NotOffered
from sparring.threat import Access

BATCH = 500
"""Images per forward pass; few, so that the activations stay in the processor's cache."""


class MarginModel(NetworkModel):
    """A network whose outputs are margins: their order says the class, but they are no log-probabilities."""

    offers = NETWORK_OFFERS - {Access.PROBABILITIES}

    def probabilities(self, x: Tensor) -> Tensor:
        raise NotOffered("the margins of a support vector machine are no probabilities")


def check_shape(features: Model, train: ArrayDataset) -> None:
    """Raises `ValueError` when the images have not the shape that the features were learnt on."""
    learnt = tuple(int(side) for side in features.state()["image_shape"])
    if learnt != train.image_shape:
        told, given = (" x ".join(str(side) for side in shape) for shape in (learnt, train.image_shape))
        raise ValueError(
            f"the features were learnt on images of {told} values, and the training images have {given}; "
            "choose an external data set of the same shape"
        )


def extracted(features: Model, train: ArrayDataset, ctx: Context) -> FloatArray:
    """(N, D) features of all training images, without gradients.

    Raises:
        ValueError: there is no image to train on.
    """
    if len(train) == 0:
        raise ValueError("no images to train on: the training set is empty")
    x = torch.from_numpy(np.array(train.x))
    with torch.no_grad():
        return torch.cat([features.features(part.to(ctx.device)).cpu() for part in x.split(BATCH)]).numpy()


def headed(state: Arrays, weight: NDArray[Any], bias: NDArray[Any]) -> Arrays:
    """The state of the features' network with another last layer: weights (K, D), biases (K,)."""
    return dict(state) | {"head.weight": weight.astype(np.float32), "head.bias": bias.astype(np.float32)}
