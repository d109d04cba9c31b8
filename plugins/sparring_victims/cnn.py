"""`cnn`: a small convolutional network, for images of any size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
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
    from torch import nn

    from sparring_victims.networks import Shape, VictimNetwork


class Padding(StrEnum):
    SAME = "same"
    VALID = "valid"


class Pooling(StrEnum):
    MAX = "max"
    AVERAGE = "average"
    NONE = "none"


class PoolAfter(StrEnum):
    EACH = "each"
    LAST = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    channels: tuple[int, ...] = param((16, 32), "channels of each convolution", at_least=1)
    kernel: int = param(3, "side of the kernels", at_least=1, unit="pixels")
    padding: Padding = param(Padding.SAME, "same: zeros at the border keep the size; valid: none")
    batch_norm: bool = param(False, "batch normalisation after each convolution")
    statistics: Statistics = param(Statistics.RUNNING, STATISTICS)
    pooling: Pooling = param(Pooling.MAX, "2 x 2 pooling, left out where an image has become too small")
    pool_after: PoolAfter = param(PoolAfter.EACH, "pool after each convolution or after the last one")
    fc: int = param(64, "width of the fully connected layer; 0: none", at_least=0)
    learning_rate: float = param(5e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.COSINE, SCHEDULE)
    epochs: int = param(20, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)

    def __post_init__(self) -> None:
        check_statistics("cnn", self.statistics, self.batch_norm)


class Cnn(NetworkVictim[Params]):
    """Convolutions, one fully connected layer, one linear layer; the features are what the last one sees."""

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from torch import nn

        from sparring_victims.batch_statistics import with_statistics
        from sparring_victims.networks import VictimNetwork

        channels, height, width = shape
        layers: list[nn.Module] = []
        for number, wide in enumerate(self.params.channels, start=1):
            height, width = self._sides_after_convolution(height, width, number)
            pooled = self._is_pooled(number) and min(height, width) >= 2
            layers += self._block(channels, wide, first=number == 1, pooled=pooled)
            height, width = (height // 2, width // 2) if pooled else (height, width)
            channels = wide
        layers.append(nn.Flatten())
        features = channels * height * width
        if self.params.fc:
            layers += [nn.Linear(features, self.params.fc), nn.ReLU()]
            features = self.params.fc
        body = with_statistics(nn.Sequential(*layers), self.params.statistics)
        return VictimNetwork(shape, body, features, classes)

    def _block(self, channels: int, wide: int, *, first: bool, pooled: bool) -> list[nn.Module]:
        from torch import nn

        from sparring_victims.networks import ChannelsLast

        params = self.params
        layers: list[nn.Module] = [nn.Conv2d(channels, wide, params.kernel, padding=params.padding.value)]
        if first:
            layers.append(ChannelsLast())
        if params.batch_norm:
            layers.append(nn.BatchNorm2d(wide))
        if not pooled:
            return [*layers, nn.ReLU()]
        if params.pooling is Pooling.AVERAGE:
            return [*layers, nn.ReLU(), nn.AvgPool2d(2)]
        return [*layers, nn.MaxPool2d(2), nn.ReLU()]  # the order is free here, and so the ReLU sees a quarter

    def _is_pooled(self, number: int) -> bool:
        last = number == len(self.params.channels)
        return self.params.pooling is not Pooling.NONE and (last or self.params.pool_after is PoolAfter.EACH)

    def _sides_after_convolution(self, height: int, width: int, number: int) -> tuple[int, int]:
        kernel = self.params.kernel
        if self.params.padding is Padding.SAME:
            return height, width
        if kernel > min(height, width):
            raise ValueError(
                f"cnn: convolution {number} sees {height} x {width} images, too small for a kernel of side {kernel}; "
                "use padding=same, a smaller kernel or fewer convolutions"
            )
        return height - kernel + 1, width - kernel + 1


SPEC = VictimSpec(
    name="cnn",
    summary="A small convolutional network, with or without batch normalisation and pooling.",
    citation="LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=Cnn,
)
