"""`maxout`: a fully connected network of maxout units, trained with dropout."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
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
    from torch import nn

    from sparring_victims.networks import Shape, VictimNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    hidden: tuple[int, ...] = param((240, 240), "maxout units of each hidden layer", at_least=1)
    pieces: int = param(5, "linear functions that each unit takes the largest of", at_least=1)
    input_dropout: float = param(0.2, "probability that a pixel is left out of a training step", at_least=0, below=1)
    hidden_dropout: float = param(0.5, "the same for the output of a unit", at_least=0, below=1)
    learning_rate: float = param(1e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.COSINE, SCHEDULE)
    epochs: int = param(20, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class Maxout(NetworkVictim[Params]):
    """A unit is the largest of `pieces` linear functions of the layer below (Goodfellow et al. 2013, section 2); each
    layer, the softmax too, drops some of its inputs while it is trained, and none afterwards.

    The defaults are the widths of the paper's permutation-invariant MNIST network (section 5.1). Its bound on the norm
    of each unit's weights is left out: no recipe has one.
    """

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from math import prod

        from torch import nn

        from sparring_victims.networks import VictimNetwork

        widths = (prod(shape), *self.params.hidden)
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(self.params.input_dropout)]
        for below, units in pairwise(widths):
            layers += [*self._units(below, units), nn.Dropout(self.params.hidden_dropout)]
        return VictimNetwork(shape, nn.Sequential(*layers), widths[-1], classes)

    def _units(self, below: int, units: int) -> list[nn.Module]:
        from torch import nn

        pieces = self.params.pieces
        # the pieces of a unit lie side by side, as one channel that is pooled
        return [nn.Linear(below, units * pieces), nn.Unflatten(1, (1, -1)), nn.MaxPool1d(pieces), nn.Flatten()]


SPEC = VictimSpec(
    name="maxout",
    summary="A fully connected network whose units are the largest of some linear functions, trained with dropout.",
    citation="Goodfellow, Warde-Farley, Mirza, Courville & Bengio 2013, Maxout networks, ICML, sections 2 and 5.1; "
    "arXiv 1302.4389",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=Maxout,
)
