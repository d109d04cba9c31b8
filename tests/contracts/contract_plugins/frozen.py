"""A victim with frozen features: a hidden layer pretrained on other data, and a linear head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, Kind, VictimSpec, param, reference
from sparring.threat import MODEL_ACCESS, Access

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    external: Selection = reference(Kind.DATASET, "digits[classes=[5,6,7,8,9]]", "what the features are trained on")
    hidden: int = param(64, "number of features", at_least=1)


class Frozen:
    """The recipe is that of the pretraining; the head is always fitted in the same way."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def recipe(self) -> Recipe:
        from sparring.training import Recipe

        return Recipe(learning_rate=5e-3, epochs=15, batch_size=64)

    def pretrain(self, external: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from contract_plugins.networks import fresh
        from sparring.model import NetworkModel
        from sparring.training_loop import train

        network = fresh(external.image_shape, self.params.hidden, external.classes, ctx)
        return NetworkModel(train(network, external, recipe, ctx), external.classes)

    def fit_head(self, features: Model, train: ArrayDataset, ctx: Context) -> Model:
        from contract_plugins.networks import fresh
        from sparring.model import NetworkModel
        from sparring.training import Recipe
        from sparring.training_loop import train as fit

        network = fresh(train.image_shape, self.params.hidden, train.classes, ctx)
        network.hidden.load_state_dict(features.weights().get_submodule("hidden").state_dict())
        network.hidden.requires_grad_(False)
        return NetworkModel(fit(network, train, Recipe(learning_rate=1e-2, epochs=30), ctx), train.classes)

    def restore_features(self, state: Arrays, ctx: Context) -> Model:
        return self.restore(state, ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from contract_plugins.networks import restored

        return restored(state, ctx)


SPEC = VictimSpec(
    name="frozen",
    summary="A linear head on features that were learned on other data.",
    params=Params,
    load=Frozen,
    acts=frozenset({Act.PRETRAIN}),
    external="external",
    offers=MODEL_ACCESS | {Access.RECIPE},
)
