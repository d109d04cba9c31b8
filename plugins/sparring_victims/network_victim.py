"""What all network victims do alike: follow a recipe, and come back from their arrays. Import-light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from sparring_victims.network_params import NetworkParams, recipe_of

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe
    from sparring_victims.networks import Shape, VictimNetwork

P = TypeVar("P", bound=NetworkParams)


class NetworkVictim(ABC, Generic[P]):
    """A victim that is one network; a subclass builds it."""

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        """The untrained network for images of `shape` (C, H, W); draws its weights from torch's global generator.

        Raises:
            ValueError: the images are too small for the architecture.
        """

    def recipe(self) -> Recipe:
        return recipe_of(self.params)

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from sparring_victims.networks import fit_network

        return fit_network(self.build, train, recipe, ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.networks import restore_network

        return restore_network(self.build, state, ctx)
