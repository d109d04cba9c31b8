"""`densenet`: a densely connected network, for small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import VictimSpec, param
from sparring.training import Schedule
from sparring_victims.batch_norm_params import STATISTICS, Statistics
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
    stages: tuple[int, ...] = param((3, 3, 3), "layers of each dense block; DenseNet-121: [6, 12, 24, 16]", at_least=1)
    growth: int = param(8, "channels that each layer adds; DenseNet-121: 32", at_least=1)
    statistics: Statistics = param(Statistics.RUNNING, STATISTICS)
    learning_rate: float = param(5e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.ONE_CYCLE, SCHEDULE)
    epochs: int = param(10, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class DenseNet(NetworkVictim[Params]):
    """One linear layer on the mean over all places; the features are what it sees."""

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from sparring_victims.backbones import densenet_body
        from sparring_victims.batch_statistics import with_statistics
        from sparring_victims.networks import VictimNetwork

        body, width = densenet_body(shape, self.params.stages, self.params.growth)
        return VictimNetwork(shape, with_statistics(body, self.params.statistics), width, classes)


SPEC = VictimSpec(
    name="densenet",
    summary="A densely connected network for small images, of any depth and growth.",
    citation="Huang, Liu, van der Maaten & Weinberger 2017, Densely connected convolutional networks; arXiv 1608.06993",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=DenseNet,
)
