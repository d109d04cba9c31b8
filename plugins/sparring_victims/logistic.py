"""`logistic`: multinomial logistic regression, a network of one linear layer."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    learning_rate: float = param(1e-2, RATE, above=0)
    schedule: Schedule = param(Schedule.COSINE, SCHEDULE)
    epochs: int = param(30, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class Logistic(NetworkVictim[Params]):
    """Linear in the pixels, which are its features."""

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from math import prod

        from torch import nn

        from sparring_victims.networks import VictimNetwork

        return VictimNetwork(shape, nn.Flatten(), prod(shape), classes)


SPEC = VictimSpec(
    name="logistic",
    summary="Multinomial logistic regression: one linear layer, cross-entropy, trained by gradient descent.",
    citation="Cox 1958, The regression analysis of binary sequences",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=Logistic,
)
