"""`autoencoder-softmax`: softmax regression on the hidden layer of a sparse autoencoder."""

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
    from sparring.contracts import Context
    from sparring.data import ArrayDataset
    from sparring.model import Model
    from sparring.training import Recipe
    from sparring_victims.networks import Shape, VictimNetwork
    from sparring_victims.sparse_autoencoder import Penalties


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    nodes: int = param(400, "units of the autoencoder's hidden layer", at_least=1)
    sparsity: float = param(0.1, "mean activation that every unit is driven to", above=0, below=1)
    sparsity_weight: float = param(1.0, "of the divergence from it, beside the squared error of an image", at_least=0)
    autoencoder_decay: float = param(1e-3, "of the autoencoder: weight of half its squared weights", at_least=0)
    autoencoder_rate: float = param(1e-2, "of the autoencoder: peak step size of Adam, on a cosine", above=0)
    autoencoder_epochs: int = param(10, "of the autoencoder: passes over the training set", at_least=0)
    autoencoder_batch: int = param(100, "of the autoencoder: images per step", at_least=1)
    learning_rate: float = param(1e-1, RATE, above=0)
    weight_decay: float = param(2e-7, "L2 penalty of the softmax layer as the optimiser understands it", at_least=0)
    schedule: Schedule = param(Schedule.COSINE, SCHEDULE)
    epochs: int = param(10, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)


class AutoencoderSoftmax(NetworkVictim[Params]):
    """AE400-10 of Szegedy et al. 2014 (section 4.2): a sigmoid layer learns to reproduce the training images, labels
    unseen, and stays as it is; the recipe is that of the softmax layer on top, and so is what a defence adds to it.

    The paper adds λ Σ w² / k to the loss, with k = 10 units and λ = 1e-6: a weight decay of 2 λ / k = 2e-7. It says no
    more of its autoencoder than that it was trained to very good filters; the penalties are those of Ng 2011.
    """

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from math import prod

        from torch import nn

        from sparring_victims.networks import VictimNetwork, dense_layers

        widths = (prod(shape), self.params.nodes)
        return VictimNetwork(shape, nn.Sequential(nn.Flatten(), *dense_layers(widths, nn.Sigmoid)), widths[-1], classes)

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from torch import nn

        from sparring.model import NetworkModel
        from sparring.training_loop import initialised
        from sparring.training_loop import train as trained
        from sparring_victims.sparse_autoencoder import fit_encoder

        network = initialised(lambda: self.build(train.image_shape, train.classes), ctx)
        encoder = network.get_submodule("body.1")
        assert isinstance(encoder, nn.Linear)
        fit_encoder(encoder, train, self._penalties(), self._autoencoder_recipe(), ctx)
        encoder.requires_grad_(False)
        return NetworkModel(trained(network, train, recipe, ctx), train.classes)

    def _penalties(self) -> Penalties:
        from sparring_victims.sparse_autoencoder import Penalties

        p = self.params
        return Penalties(sparsity=p.sparsity, divergence=p.sparsity_weight, decay=p.autoencoder_decay)

    def _autoencoder_recipe(self) -> Recipe:
        from sparring.training import Recipe

        p = self.params
        return Recipe(
            learning_rate=p.autoencoder_rate,
            schedule=Schedule.COSINE,
            epochs=p.autoencoder_epochs,
            batch_size=p.autoencoder_batch,
        )


SPEC = VictimSpec(
    name="autoencoder-softmax",
    summary="Softmax regression on the hidden layer of a sparse autoencoder that saw the images without labels.",
    citation="Szegedy et al. 2014, Intriguing properties of neural networks, section 4.2 (AE400-10), arXiv 1312.6199; "
    "Ng 2011, Sparse autoencoder, CS294A lecture notes",
    params=Params,
    offers=NETWORK_VICTIM_OFFERS,
    load=AutoencoderSoftmax,
)
