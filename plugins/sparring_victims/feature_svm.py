"""`feature-svm`: a linear support vector machine on frozen features that were learnt on other images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, Kind, VictimSpec, param, reference
from sparring.threat import Access
from sparring.training import Schedule
from sparring_victims.batch_norm_params import STATISTICS, Statistics, check_statistics
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


class Backbone(StrEnum):
    VGG = "vgg"
    RESNET = "resnet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(NetworkParams):
    external: Selection = reference(
        Kind.DATASET, "digits[classes=[5,6,7,8,9]]", "the data set that the features are learnt on"
    )
    backbone: Backbone = param(Backbone.VGG, "architecture of the features")
    stages: tuple[int, ...] = param(
        (1, 1, 1), "convolutions (vgg) or basic blocks (resnet) of each stage; VGG13: [2, 2, 2, 2, 2]", at_least=1
    )
    width: int = param(16, "channels of the first stage; VGG13 and ResNet-18: 64", at_least=1)
    batch_norm: bool = param(False, "batch normalisation after each convolution of a vgg; a resnet always has it")
    statistics: Statistics = param(Statistics.RUNNING, STATISTICS)
    c: float = param(1.0, "of the support vector machine: weight of the squared hinge loss", above=0)
    iterations: int = param(1000, "of its solver at most", at_least=1)
    learning_rate: float = param(2e-3, RATE, above=0)
    schedule: Schedule = param(Schedule.ONE_CYCLE, SCHEDULE)
    epochs: int = param(10, EPOCHS, at_least=1)
    batch_size: int = param(64, BATCH_SIZE, at_least=1)

    def __post_init__(self) -> None:
        check_statistics("feature-svm", self.statistics, self.batch_norm or self.backbone is Backbone.RESNET)


class FeatureSvm:
    """The recipe is that of the features, whose own classifier is thrown away; the head is scikit-learn's `LinearSVC`
    on what they say of the training set (Chan-Hon-Tong 2021, section 3.2)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def build(self, shape: Shape, classes: int) -> VictimNetwork:
        from sparring_victims.backbones import resnet_body, vgg_body
        from sparring_victims.batch_statistics import with_statistics
        from sparring_victims.networks import VictimNetwork

        p = self.params
        if p.backbone is Backbone.RESNET:
            body, width = resnet_body(shape, p.stages, p.width)
        else:
            body, width = vgg_body(shape, p.stages, p.width, batch_norm=p.batch_norm)
        return VictimNetwork(shape, with_statistics(body, p.statistics), width, classes)

    def recipe(self) -> Recipe:
        return recipe_of(self.params)

    def pretrain(self, external: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from sparring_victims.networks import fit_network

        return fit_network(self.build, external, recipe, ctx)

    def restore_features(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.networks import restore_network

        return restore_network(self.build, state, ctx)

    def fit_head(self, features: Model, train: ArrayDataset, ctx: Context) -> Model:
        """Raises `ValueError` when the training images have not the shape that the features were learnt on."""
        from sklearn.svm import LinearSVC

        from sparring_victims.hyperplanes import one_against_rest
        from sparring_victims.margins import check_shape, extracted, headed

        check_shape(features, train)
        # the primal is the faster one here, and nothing in it is random; without a random_state it would still
        # take one from numpy's global generator
        svm = LinearSVC(C=self.params.c, max_iter=self.params.iterations, dual=False, random_state=0)
        weight, bias = one_against_rest(svm, extracted(features, train, ctx), train.y, train.classes)
        return self.restore(headed(features.state(), weight, bias), ctx)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from sparring_victims.margins import MarginModel
        from sparring_victims.networks import restore_network

        fitted = restore_network(self.build, state, ctx)
        return MarginModel(fitted.network, fitted.classes)


SPEC = VictimSpec(
    name="feature-svm",
    summary="A linear support vector machine on frozen features of a network that was trained on other images.",
    citation="Chan-Hon-Tong 2021, Features which are robust to adversarial attacks are also robust to several "
    "poisoning attacks, section 3; Shafahi et al. 2018, Poison frogs, section 3; arXiv 1804.00792",
    params=Params,
    acts=frozenset({Act.PRETRAIN}),
    external="external",
    offers=NETWORK_VICTIM_OFFERS - {Access.PROBABILITIES},
    load=FeatureSvm,
)
