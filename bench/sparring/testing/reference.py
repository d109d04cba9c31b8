"""The reference victim: a plain small network that the kit puts in front of attacks and behind defences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import Poisoned
from sparring.model import NetworkModel, load_state, untouched_randomness
from sparring.testing.scene import Scene
from sparring.training import Recipe
from sparring.training_loop import initialised, train

if TYPE_CHECKING:
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model


class ReferenceNetwork(nn.Module):
    """Convolution, batch norm, dropout, mean pooling to 4 x 4, linear. Any image size from 4 x 4 on; its modes matter:
    batch norm and dropout answer differently when they are left in training mode."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, classes)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


class ReferenceVictim:
    """Satisfies `sparring.contracts.Victim`."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        self._shape = shape
        self._classes = classes

    def recipe(self) -> Recipe:
        return Recipe(epochs=4, batch_size=16)

    def fit(self, data: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        return NetworkModel(train(self._network(ctx), data, recipe, ctx), self._classes)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        return NetworkModel(load_state(self._network(ctx), state), self._classes)

    def _network(self, ctx: Context) -> nn.Module:
        return initialised(lambda: ReferenceNetwork(self._shape, self._classes), ctx)


class CountingModel(NetworkModel):
    """A model that knows how many rows really went through its network, whatever way they took."""

    def __init__(self, model: NetworkModel) -> None:
        super().__init__(model.network, model.classes, model.batch_size)
        self.passed = 0
        assert isinstance(model.network, ReferenceNetwork)
        model.network.body.register_forward_pre_hook(self._count)

    def _count(self, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.passed += len(given[0])


@lru_cache(maxsize=64)
def _fitted_state(shape: tuple[int, int, int], classes: int) -> Arrays:
    return _fit(_plain(shape, classes).train(), epochs=4)


@lru_cache(maxsize=64)
def _poisoned_state(shape: tuple[int, int, int], classes: int) -> Arrays:
    scene = _plain(shape, classes)
    return _fit(scene.train().with_delta(backdoor(scene)), epochs=30)


def _plain(shape: tuple[int, int, int], classes: int) -> Scene:
    channels, height, width = shape
    return Scene(channels=channels, height=height, width=width, classes=classes)


def _fit(data: ArrayDataset, epochs: int) -> Arrays:
    victim = ReferenceVictim(data.image_shape, data.classes)
    recipe = replace(victim.recipe(), epochs=epochs)
    return victim.fit(data, recipe, Context(seed=7, device="cpu", scratch=Path())).state()


def fitted_model(scene: Scene) -> NetworkModel:
    """A network trained for a moment on the scene's training set; a fresh copy each time, so that nobody meets what
    another plugin did to it."""
    return _restored(scene, _fitted_state)


def poisoned_model(scene: Scene) -> NetworkModel:
    """The same network, trained on the training set with `backdoor` in it until it is right about clean images, and
    says 0 wherever the bright corner is: inspections have something to find, and repairs to mend."""
    return _restored(scene, _poisoned_state)


def _restored(scene: Scene, state_of: Callable[[tuple[int, int, int], int], Arrays]) -> NetworkModel:
    with untouched_randomness():
        network = ReferenceNetwork(scene.shape, scene.classes)
        state = state_of(scene.shape, scene.classes)
    return NetworkModel(load_state(network, state).to(scene.device), scene.classes)


def backdoor(scene: Scene) -> Poisoned:
    """What the training set of a defence suffers from: an eighth of the rows of other classes than 0 has a bright
    corner of 3 x 3 pixels and the label 0."""
    train = scene.train()
    rows = np.flatnonzero(train.y != 0)[::8]
    x = train.rows(rows).x.copy()
    x[:, :, -3:, -3:] = 1.0
    return Poisoned(rows, x, np.zeros(len(rows), np.int64))
