"""Draws what an attack did to images, and where the cell's model looks: from the artifacts of the cell's stages.

The images are the first of each class among those that the cell was measured on (attacks at inference, triggers) or
that were poisoned (attacks on the training set), so that nobody picked them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import ArrayDataset, FloatArray, IntArray
from sparring.model import Model, NotOffered
from sparring.stage import RuleBroken, Stage
from sparring.threat import Access
from sparring.workshop import Workshop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sparring.plan import Plan

DOTS: Final = 110
COLOURS: Final = 96


@dataclass(frozen=True, eq=False)
class Illustration:
    """What is drawn.

    Attributes:
        kind: "attacked" or "poisoned".
        before, after: (N, C, H, W) in [0, 1].
        truth: (N,) labels; of poisoned images those before.
        said: what stands below the images before and after, as texts.
        magnified: by how much the difference is.
        looks: for `before` and `after` (N, H, W) in [0, 1], where the model looks; empty where it offers no gradients.
        how: "Grad-CAM" or "input gradient".
    """

    kind: str
    before: FloatArray
    after: FloatArray
    truth: IntArray
    said: tuple[Sequence[str], Sequence[str]]
    magnified: float
    looks: tuple[FloatArray, ...]
    how: str

    @property
    def about(self) -> str:
        """How to read the picture, as one text; what a screen reader says of it."""
        rows = [
            f"{len(self.before)} images before the attack",
            f"the same {self.kind}",
            f"the difference, magnified {self.magnified:.3g} times around grey",
        ]
        if self.looks:
            what = "of the predicted class" if self.how == "Grad-CAM" else "absolute, of the predicted class"
            rows.append(f"{self.how} ({what}) of the cell's model before, and after")
        below = "labels" if self.kind == "poisoned" else "true and predicted classes"
        return f"Rows: {'; '.join(rows)}. Below the images: {below}. The first image of each class, none was picked."


def illustrate(plan: Plan, goal: Stage, shop: Workshop, count: int) -> Illustration:
    """Of the cell whose last stage is `goal`; all its stages are in the store.

    Raises:
        RuleBroken: the cell's attack changes no images.
    """
    stages = plan.blueprint.stages
    answers = stages[goal.inputs["clean"]]
    ctx = Context(seed=goal.seed, device=shop.device, scratch=Path())
    model = shop.own_model(answers, "model", ctx)
    if "attack" in goal.inputs:
        return _attacked(goal, answers, shop, model, count)
    if "poison" in goal.inputs:
        return _poisoned(goal, shop, model, count)
    raise RuleBroken("the attack changes no images")


def _attacked(goal: Stage, answers: Stage, shop: Workshop, model: Model, count: int) -> Illustration:
    test, arrays = shop.data(goal).test, shop.artifact(goal, "attack").arrays
    rows: IntArray = arrays["rows"]
    told = (shop.artifact(goal, "clean").arrays["labels"][rows], shop.artifact(goal, "attacked").arrays["labels"])
    chosen = _first_of_each(test.y[rows], count)
    truth = test.y[rows][chosen]
    names = test.class_names
    said = [
        [f"{names[label]} → {names[found]}" for label, found in zip(truth, labels[chosen], strict=True)]
        for labels in told
    ]
    return _drawn("attacked", test.rows(rows[chosen]).x, arrays["x"][chosen], truth, (said[0], said[1]), model, shop)


def _poisoned(goal: Stage, shop: Workshop, model: Model, count: int) -> Illustration:
    fit, delta = shop.data(goal).fit, shop.poisoned(goal)
    if delta is None or len(delta.rows) == 0:
        raise RuleBroken("the attack changed no training images")
    chosen = _first_of_each(fit.y[delta.rows], count)
    clean: ArrayDataset = fit.rows(delta.rows[chosen])
    names = fit.class_names
    said = ([names[label] for label in clean.y], [names[label] for label in delta.y[chosen]])
    return _drawn("poisoned", clean.x, ArrayDataset(delta.x, delta.y, names).rows(chosen).x, clean.y, said, model, shop)


def _first_of_each(labels: IntArray, count: int) -> IntArray:
    """Positions of the first of each class, by class; then of the second of each, until there are `count`."""
    seen: dict[int, int] = {}
    turn = []
    for position, label in enumerate(labels.tolist()):
        turn.append((seen.setdefault(label, 0), label, position))
        seen[label] += 1
    return np.array([position for _, _, position in sorted(turn)[:count]], dtype=np.int64)


def _drawn(
    kind: str,
    before: FloatArray,
    after: FloatArray,
    truth: IntArray,
    said: tuple[Sequence[str], Sequence[str]],
    model: Model,
    shop: Workshop,
) -> Illustration:
    looks, how = _looks(model, [shop.tensor(before), shop.tensor(after)])
    largest = float(np.abs(after - before).max())
    magnified = max(1.0, 0.5 / largest) if largest > 0 else 1.0
    return Illustration(kind, before, after, truth, said, magnified, looks, how)


def _looks(model: Model, images: Sequence[Tensor]) -> tuple[tuple[FloatArray, ...], str]:
    """Where the model looks for its predicted class: Grad-CAM on its last convolution (Selvaraju et al. 2017), else
    the gradient of the class's logit (Simonyan et al. 2014); nothing where it offers neither."""
    if Access.GRADIENTS not in model.offers:
        return (), ""
    try:
        convolutions = [layer for layer in model.weights().modules() if isinstance(layer, nn.Conv2d)]
    except NotOffered:
        convolutions = []
    if convolutions:
        return tuple(_grad_cam(model, convolutions[-1], x) for x in images), "Grad-CAM"
    return tuple(_saliency(model, x) for x in images), "input gradient"


def _grad_cam(model: Model, layer: nn.Module, x: Tensor) -> FloatArray:
    from captum.attr import LayerAttribution, LayerGradCam

    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        found = LayerGradCam(model.logits, layer).attribute(leaf, target=model.predict(x), relu_attributions=True)
    grown = LayerAttribution.interpolate(found.detach(), tuple(x.shape[2:]), interpolate_mode="bilinear")
    return _scaled(grown.sum(dim=1))


def _saliency(model: Model, x: Tensor) -> FloatArray:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        chosen = model.logits(leaf).gather(1, model.predict(x)[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, leaf)
    return _scaled(gradient.abs().amax(dim=1))


def _scaled(maps: Tensor) -> FloatArray:
    """(N, H, W), each image by its own largest value."""
    largest = maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    scaled: FloatArray = (maps / largest).clamp(0, 1).cpu().numpy()
    return scaled


def png(shown: Illustration) -> bytes:
    """The picture: kinds as rows, images as columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    difference = 0.5 + shown.magnified * (shown.after - shown.before)
    rows: list[tuple[str, FloatArray, FloatArray | None, Sequence[str]]] = [
        ("clean", shown.before, None, shown.said[0]),
        (shown.kind, shown.after, None, shown.said[1]),
        (f"difference\n× {shown.magnified:.3g}", difference, None, ()),
    ]
    places = ("clean", shown.kind)
    for place, seen, heat in zip(places, (shown.before, shown.after), shown.looks, strict=False):
        rows.append((f"{shown.how},\n{place}", seen, heat, ()))
    count = len(shown.before)
    with context({}), context({"font.size": 8}):
        figure = Figure(figsize=(1.05 + 0.92 * count, 1.12 * len(rows)), dpi=DOTS, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), count, squeeze=False)
        for line, (name, images, look, said) in zip(grid, rows, strict=True):
            for i, axes in enumerate(line):
                _draw(axes, images[i], None if look is None else look[i])
                axes.set_xlabel(said[i][:24] if said else "", fontsize=8)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return _fewer_colours(out)


def _draw(axes: Axes, image: FloatArray, look: NDArray[Any] | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
        spine.set_color("#8a8f94")
    shown = image.clip(0, 1).transpose(1, 2, 0)
    grey = shown.mean(axis=2)
    if look is None:
        axes.imshow(np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown, interpolation="nearest")
    else:
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.imshow(look, cmap="inferno", vmin=0, vmax=1, alpha=0.65, interpolation="bilinear")


def _fewer_colours(drawn: io.BytesIO) -> bytes:
    """A third of the bytes, and hardly another picture."""
    from PIL import Image

    out = io.BytesIO()
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(COLOURS).save(out, format="PNG", optimize=True)
    return out.getvalue()
