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
    recipe_of,
)

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe
    from sparring_victims.networks import Shape, VictimNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    learning_rate: float = param(1e-2, RATE, above=0)
    schedule: Schedule = param(Schedule.COSINE, SCHEDULE)
    epochs: int = param(30, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class Logistic:
    """Linear in the pixels, which are its features."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def recipe(self) -> Recipe:
        return recipe_of(self.params)

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from sparring_victims.networks import fit_network

        return fit_network(self._build, train, recipe, ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.networks import restore_network

        return restore_network(self._build, state, ctx)

    def _build(self, shape: Shape, classes: int) -> VictimNetwork:
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
