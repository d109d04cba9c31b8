"""`vgg`: stages of 3 x 3 convolutions, for small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import VictimSpec, param
from sparring.training import Schedule
from sparring_victims.batch_norm_params import STATISTICS, Statistics, check_statistics
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
    stages: tuple[int, ...] = param((1, 1, 1), "convolutions of each stage; VGG13: [2, 2, 2, 2, 2]", at_least=1)
    width: int = param(
        16, "channels of the first stage; each later one has twice as many, at most 8 times; VGG: 64", at_least=1
    )
    batch_norm: bool = param(False, "batch normalisation after each convolution")
    statistics: Statistics = param(Statistics.RUNNING, STATISTICS)
    learning_rate: float = param(2e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.ONE_CYCLE, SCHEDULE)
    epochs: int = param(20, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)

    def __post_init__(self) -> None:
        check_statistics("vgg", self.statistics, self.batch_norm)


class Vgg(NetworkVictim[Params]):
    """One linear layer on the flattened last stage; the features are what it sees."""

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from sparring_victims.backbones import vgg_body
        from sparring_victims.batch_statistics import with_statistics
        from sparring_victims.networks import VictimNetwork

        body, width = vgg_body(shape, self.params.stages, self.params.width, batch_norm=self.params.batch_norm)
        return VictimNetwork(shape, with_statistics(body, self.params.statistics), width, classes)


SPEC = VictimSpec(
    name="vgg",
    summary="A VGG for small images, of any depth and width, with or without batch normalisation.",
    citation="Simonyan & Zisserman 2015, Very deep convolutional networks for large-scale image recognition; "
    "arXiv 1409.1556",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=Vgg,
)
