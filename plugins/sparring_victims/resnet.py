"""`resnet`: a residual network of basic blocks, for small images."""

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
    stages: tuple[int, ...] = param((1, 1, 1), "basic blocks of each stage; ResNet-18: [2, 2, 2, 2]", at_least=1)
    width: int = param(16, "channels of the first stage; each later one doubles them; ResNet-18: 64", at_least=1)
    statistics: Statistics = param(Statistics.RUNNING, STATISTICS)
    learning_rate: float = param(5e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.ONE_CYCLE, SCHEDULE)
    epochs: int = param(10, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class ResNet(NetworkVictim[Params]):
    """One linear layer on the mean over all places; the features are what it sees."""

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from sparring_victims.backbones import resnet_body
        from sparring_victims.batch_statistics import with_statistics
        from sparring_victims.networks import VictimNetwork

        body, width = resnet_body(shape, self.params.stages, self.params.width)
        return VictimNetwork(shape, with_statistics(body, self.params.statistics), width, classes)


SPEC = VictimSpec(
    name="resnet",
    summary="A residual network for small images, of any depth and width.",
    citation="He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition; arXiv 1512.03385",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=ResNet,
)
