"""What a model's answers rest on: maps over an image, whether these depend on what was learned, and training images."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn

from sparring.data import ArrayDataset, FloatArray, IntArray
from sparring.model import Model, NetworkModel, NotOffered
from sparring.threat import Access

if TYPE_CHECKING:
    from collections.abc import Callable

GRAD_CAM: Final = "Grad-CAM"
GRADIENT: Final = "input gradient"
ROWS: Final = 512
"""Training images whose features are computed at a time."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Where a model looks for the class that it predicts.

    Attributes:
        how: "Grad-CAM" or "input gradient".
        heat: for each batch of images (N, H, W) in [0, 1], each image by its own largest value.
    """

    how: str
    heat: tuple[FloatArray, ...]


def maps(model: Model, *images: Tensor) -> Maps | None:
    """Grad-CAM on the last convolution (Selvaraju et al. 2017), else the gradient of the predicted class's logit;
    `None` where the model offers no gradients. `images`: batches (N, C, H, W) in [0, 1]."""
    if Access.GRADIENTS not in model.offers:
        return None
    layer = _last_convolution(model)
    if layer is None:
        return gradients(model, *images)
    return Maps(GRAD_CAM, tuple(_grad_cam(model, layer, x, model.predict(x)) for x in images))


def gradients(model: Model, *images: Tensor) -> Maps | None:
    """Absolute gradient of the predicted class's logit, the largest over channels (Simonyan et al. 2014, section 3)."""
    if Access.GRADIENTS not in model.offers:
        return None
    return Maps(GRADIENT, tuple(_gradient(model, x, model.predict(x)) for x in images))


@dataclass(frozen=True, eq=False)
class SanityCheck:
    """The maps that a network gives for the same classes before it has learned anything.

    Attributes:
        heat: as in `Maps`, of one batch.
        likeness: mean over the images of Spearman's rank correlation with the maps of the trained network. A map that
            hardly changes does not show what was learned (Adebayo et al. 2018, section 3, with all layers drawn anew).
    """

    heat: FloatArray
    likeness: float


def sanity_check(model: Model, found: FloatArray, x: Tensor, seed: int) -> SanityCheck | None:
    """Of the maps `found` (N, H, W) that `maps` gave for `x`; `None` where the model hides its weights, or has none."""
    from scipy.stats import spearmanr

    untrained = _untrained(model, seed)
    if untrained is None:
        return None
    classes, layer = model.predict(x), _last_convolution(untrained)
    heat = _gradient(untrained, x, classes) if layer is None else _grad_cam(untrained, layer, x, classes)
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(found, heat, strict=True)]
    ranked = [float(spearmanr(a, b).statistic) for a, b in pairs if np.ptp(a) > 0 and np.ptp(b) > 0]
    return SanityCheck(heat, float(np.mean(ranked)) if ranked else 0.0)


def influential(
    model: Model, x: Tensor, train: ArrayDataset, count: int, tensor: Callable[[FloatArray], Tensor]
) -> IntArray | None:
    """(N, count) rows of `train` that speak most for the classes predicted of `x` (N, C, H, W), the most influential
    first; `None` where the model offers no features, or no gradients.

    A step on a training image moves the loss of another by the product of their gradients (Pruthi et al. 2020, TracIn,
    section 3.3: of the last layer alone, at the end of training), here divided by the training image's own (Barshan et
    al. 2020), as outliers are else most influential for everything. The gradient of the last layer is (p - y) times the
    features.
    """
    if not {Access.FEATURES, Access.GRADIENTS} <= model.offers:
        return None
    with torch.no_grad():
        sought, error = _last_layer(model, x, model.predict(x))
        parts = []
        for start in range(0, len(train), ROWS):
            rows = train.rows(np.arange(start, min(start + ROWS, len(train))))
            known, wrong = _last_layer(model, tensor(rows.x), torch.tensor(rows.y, device=x.device))
            parts.append((sought @ known.T) * (error @ wrong.T))
        found = torch.cat(parts, dim=1).topk(min(count, len(train)), dim=1).indices
    rows_of: IntArray = found.cpu().numpy().astype(np.int64)
    return rows_of


def _last_layer(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Features and errors p - y, all of length 1; in double precision, as errors of what was learned well are small."""
    features = model.features(x).flatten(1).double()
    others = model.logits(x).double().softmax(dim=1).scatter(1, y[:, None], 0.0)
    errors = others.scatter(1, y[:, None], -others.sum(dim=1, keepdim=True))
    return nn.functional.normalize(features), nn.functional.normalize(errors, eps=1e-300)


def _last_convolution(model: Model) -> nn.Module | None:
    try:
        return next(
            (layer for layer in reversed(list(model.weights().modules())) if isinstance(layer, nn.Conv2d)), None
        )
    except NotOffered:
        return None


def _untrained(model: Model, seed: int) -> NetworkModel | None:
    try:
        network = copy.deepcopy(model.weights())
    except NotOffered:
        return None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = [_draw_anew(layer) for layer in network.modules()]
    return NetworkModel(network, model.classes) if any(drawn) else None


def _draw_anew(layer: nn.Module) -> bool:
    """Whether the layer has weights of its own, which are now as before training."""
    reset = getattr(layer, "reset_parameters", None)
    if reset is None:
        return False
    reset()
    return True


def _grad_cam(model: Model, layer: nn.Module, x: Tensor, classes: Tensor) -> FloatArray:
    from captum.attr import LayerAttribution, LayerGradCam

    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        found = LayerGradCam(model.logits, layer).attribute(leaf, target=classes, relu_attributions=True)
    grown = LayerAttribution.interpolate(found.detach(), tuple(x.shape[2:]), interpolate_mode="bilinear")
    return _scaled(grown.sum(dim=1))


def _gradient(model: Model, x: Tensor, classes: Tensor) -> FloatArray:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        chosen = model.logits(leaf).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, leaf)
    return _scaled(gradient.abs().amax(dim=1))


def _scaled(found: Tensor) -> FloatArray:
    """(N, H, W), each image by its own largest value."""
    largest = found.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    scaled: FloatArray = (found / largest).clamp(0, 1).cpu().numpy()
    return scaled
