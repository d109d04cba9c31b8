"""`mlp`: a fully connected network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import VictimSpec, param
from sparring.training import Schedule
from sparring_victims.network_params import (
    BATCH_SIZE,
    EPOCHS,
    NETWORK_VICTIM_OFFERS,
    RATE,
    SCHEDULE,
    NetworkParams,
)
from sparring_victims.network_victim import NetworkVictim

if TYPE_CHECKING:
    from sparring_victims.networks import Shape, VictimNetwork


class Activation(StrEnum):
    RELU = "relu"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    hidden: tuple[int, ...] = param((128,), "width of each hidden layer", at_least=1)
    activation: Activation = param(Activation.RELU, "of the hidden layers")
    learning_rate: float = param(5e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.COSINE, SCHEDULE)
    epochs: int = param(20, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class Mlp(NetworkVictim[Params]):
    """Offers everything a network can; its features are the activations of the last hidden layer."""

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from math import prod

        from torch import nn

        from sparring_victims.networks import VictimNetwork, dense_layers

        activation = nn.ReLU if self.params.activation is Activation.RELU else nn.Sigmoid
        widths = (prod(shape), *self.params.hidden)
        return VictimNetwork(shape, nn.Sequential(nn.Flatten(), *dense_layers(widths, activation)), widths[-1], classes)


SPEC = VictimSpec(
    name="mlp",
    summary="A fully connected network.",
    citation="Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=Mlp,
)
