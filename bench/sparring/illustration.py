"""Draws what an attack did to images, where the cell's model looks, and what it learned its answers from: from the
artifacts of the cell's stages.

The images are the first of each class among those that the cell was measured on (attacks at inference, triggers) or
that were poisoned (attacks on the training set), so that nobody picked them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Context
from sparring.data import ArrayDataset, FloatArray, IntArray, poisoned_rows
from sparring.explanation import Maps, gradients, influential, maps, sanity_check
from sparring.model import Model
from sparring.stage import RuleBroken, Stage
from sparring.workshop import Workshop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sparring.plan import Plan

DOTS: Final = 110
COLOURS: Final = 96
WIDEST: Final = 16
"""Characters below an image."""
INFLUENTIAL: Final = 2
"""Training images that are shown for each image."""


@dataclass(frozen=True, eq=False)
class Row:
    """Images of a kind.

    Attributes:
        name: what stands beside them; may have several lines.
        about: the same for those who read how to read the picture.
        images: (N, C, H, W) in [0, 1].
        heat: (N, H, W) in [0, 1], laid over the images; `None`: nothing.
        said: what stands below each image; may be empty.
    """

    name: str
    about: str
    images: FloatArray
    heat: FloatArray | None = None
    said: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Illustration:
    """What is drawn: rows of as many images each.

    Attributes:
        below: what the texts below the images are.
    """

    rows: tuple[Row, ...]
    below: str

    @property
    def about(self) -> str:
        """How to read the picture, as one text; what a screen reader says of it."""
        rows = "; ".join(row.about for row in self.rows)
        return f"Rows: {rows}. Below the images: {self.below}. The first image of each class, none was picked."


@dataclass(frozen=True, eq=False)
class _Subject:
    """The images of a cell.

    Attributes:
        kind: "attacked" or "poisoned".
        before, after: (N, C, H, W) in [0, 1].
        said: what stands below the images before and after.
        below: what that is.
    """

    kind: str
    before: FloatArray
    after: FloatArray
    said: tuple[Sequence[str], Sequence[str]]
    below: str


def illustrate(plan: Plan, goal: Stage, shop: Workshop, count: int, explain: bool) -> Illustration:
    """Of the cell whose last stage is `goal`; all its stages are in the store. `explain`: with the gradient beside
    Grad-CAM, the map of an untrained network, and the training images that speak most for the answers.

    Raises:
        RuleBroken: the cell's attack changes no images.
    """
    answers = plan.blueprint.stages[goal.inputs["clean"]]
    ctx = Context(seed=goal.seed, device=shop.device, scratch=Path())
    model = shop.own_model(answers, "model", ctx)
    if "attack" in goal.inputs:
        subject = _attacked(goal, answers, shop, count)
    elif "poison" in goal.inputs:
        subject = _poisoned(goal, shop, count)
    else:
        raise RuleBroken("the attack changes no images")
    rows = [*_seen(subject), *_looks(subject, model, shop)]
    if explain:
        rows += [*_checks(subject, model, shop, goal.seed), *_influences(subject, model, shop, goal)]
    return Illustration(tuple(rows), subject.below)


def _attacked(goal: Stage, answers: Stage, shop: Workshop, count: int) -> _Subject:
    test, arrays = shop.data(goal).test, shop.artifact(goal, "attack").arrays
    rows: IntArray = arrays["rows"]
    told = (shop.artifact(goal, "clean").arrays["labels"][rows], shop.artifact(goal, "attacked").arrays["labels"])
    chosen = _first_of_each(test.y[rows], count)
    names = test.class_names
    before, after = (
        [f"{names[label]} → {names[found]}" for label, found in zip(test.y[rows][chosen], labels[chosen], strict=True)]
        for labels in told
    )
    images = test.rows(rows[chosen]).x
    return _Subject("attacked", images, arrays["x"][chosen], (before, after), "true and predicted classes")


def _poisoned(goal: Stage, shop: Workshop, count: int) -> _Subject:
    fit, delta = shop.data(goal).fit, shop.poisoned(goal)
    if delta is None or len(delta.rows) == 0:
        raise RuleBroken("the attack changed no training images")
    chosen = _first_of_each(fit.y[delta.rows], count)
    clean: ArrayDataset = fit.rows(delta.rows[chosen])
    names = fit.class_names
    said = ([names[label] for label in clean.y], [names[label] for label in delta.y[chosen]])
    after = ArrayDataset(delta.x, delta.y, names).rows(chosen).x
    return _Subject("poisoned", clean.x, after, said, "labels")


def _seen(subject: _Subject) -> Iterator[Row]:
    before, after = subject.before, subject.after
    largest = float(np.abs(after - before).max())
    magnified = max(1.0, 0.5 / largest) if largest > 0 else 1.0
    yield Row("clean", f"{len(before)} images before the attack", before, said=subject.said[0])
    yield Row(subject.kind, f"the same {subject.kind}", after, said=subject.said[1])
    told = f"the difference, magnified {magnified:.3g} times around grey"
    yield Row(f"difference\n× {magnified:.3g}", told, 0.5 + magnified * (after - before))


def _looks(subject: _Subject, model: Model, shop: Workshop) -> Iterator[Row]:
    found = maps(model, shop.tensor(subject.before), shop.tensor(subject.after))
    if found is not None:
        yield from _map_rows(subject, found)


def _map_rows(subject: _Subject, found: Maps) -> Iterator[Row]:
    before, after = found.heat
    told = f"{found.how} of the predicted class, of the cell's model before the attack"
    yield Row(f"{found.how},\nclean", told, subject.before, before)
    yield Row(f"{found.how},\n{subject.kind}", f"{found.how} after it", subject.after, after)


def _checks(subject: _Subject, model: Model, shop: Workshop, seed: int) -> Iterator[Row]:
    """The gradient, where the map was another, and whether the map depends on what was learned."""
    after = shop.tensor(subject.after)
    found = maps(model, after)
    plain = gradients(model, shop.tensor(subject.before), after)
    if found is None or plain is None:
        return
    if found.how != plain.how:
        yield from _map_rows(subject, plain)
    checked = sanity_check(model, found.heat[0], after, seed)
    if checked is not None:
        told = (
            f"{found.how} of the same network with weights as before training, whose rank correlation with that of the "
            f"trained one is {checked.likeness:.2f} (near 1: the map does not show what was learned)"
        )
        yield Row(f"untrained,\nlike {checked.likeness:.2f}", told, subject.after, checked.heat)


def _influences(subject: _Subject, model: Model, shop: Workshop, goal: Stage) -> Iterator[Row]:
    train = shop.training_set(goal)
    rows = influential(model, shop.tensor(subject.after), train, INFLUENTIAL, shop.tensor)
    if rows is None:
        return
    poisoned, verdict = poisoned_rows(shop.poisoned(goal), len(shop.data(goal).fit)), shop.sanitised(goal)
    if verdict is not None:
        poisoned = poisoned[verdict.keep]
    for place, chosen in enumerate(rows.T, start=1):
        said = [f"{train.class_names[train.y[row]]}{', poison' if poisoned[row] else ''}" for row in chosen.tolist()]
        told = f"the training image that speaks most for the answer after the attack, number {place}, with its label"
        yield Row(f"learned from,\nnumber {place}", told, train.rows(chosen).x, said=said)


def _first_of_each(labels: IntArray, count: int) -> IntArray:
    """Positions of the first of each class, by class; then of the second of each, until there are `count`."""
    seen: dict[int, int] = {}
    turn = []
    for position, label in enumerate(labels.tolist()):
        turn.append((seen.setdefault(label, 0), label, position))
        seen[label] += 1
    return np.array([position for _, _, position in sorted(turn)[:count]], dtype=np.int64)


def png(shown: Illustration) -> bytes:
    """The picture: kinds as rows, images as columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    count = len(shown.rows[0].images)
    with context({}), context({"font.size": 8}):
        figure = Figure(figsize=(1.05 + 0.92 * count, 1.12 * len(shown.rows)), dpi=DOTS, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(shown.rows), count, squeeze=False)
        for line, row in zip(grid, shown.rows, strict=True):
            for i, axes in enumerate(line):
                _draw(axes, row.images[i], None if row.heat is None else row.heat[i])
                axes.set_xlabel(_below(row.said[i]) if row.said else "", fontsize=8)
            line[0].set_ylabel(row.name, rotation=0, ha="right", va="center", labelpad=6)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return _fewer_colours(out)


def _below(text: str) -> str:
    """Long names in two lines, as the next image begins soon."""
    return "\n→ ".join(part[:WIDEST] for part in text.split(" → ")) if len(text) > WIDEST else text


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
