"""Radii from bounds: what the certificates by intervals and by CROWN share. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sparring.contracts import Certificate, Context
from sparring.model import Model
from sparring_defences.network_bounds import SLACK, Box, Layer, box_around, taken_apart

Margins = Callable[[Sequence[Layer], Box, Tensor, int], Tensor]
"""(layers, box, labels, classes) to (K, N) lower bounds on the label's logit minus each class's."""

AT_ONCE = 16
"""Images that are certified at a time."""


def certified(model: Model, x: Tensor, bound: Margins, largest: float, halvings: int, ctx: Context) -> Certificate:
    """The model's answers, and the largest radii at which `bound` proves them; L-infinity."""
    layers, labels = taken_apart(model.weights(), x.shape[1:]), model.predict(x)
    radii = [torch.zeros(0, dtype=torch.float64)]
    for start in range(0, len(x), AT_ONCE):
        part, own = x[start : start + AT_ONCE], labels[start : start + AT_ONCE]
        ctx.progress(start, len(x), "images certified")
        radii.append(
            largest_radius(partial(_holds, layers, bound, part, own, model.classes), len(part), largest, halvings)
        )
    return Certificate(labels.cpu().numpy(), torch.cat(radii).numpy(), "linf")


def _holds(layers: Sequence[Layer], bound: Margins, x: Tensor, labels: Tensor, classes: int, epsilon: Tensor) -> Tensor:
    """(N,) bool: whether no image within (N,) `epsilon` gets another label."""
    with torch.no_grad():
        margin = bound(layers, box_around(x, epsilon), labels, classes)
    rivals = torch.arange(classes, device=labels.device)[:, None] != labels
    return ((margin > SLACK) | ~rivals).all(dim=0)


def largest_radius(holds: Callable[[Tensor], Tensor], count: int, at_most: float, steps: int) -> Tensor:
    """(count,) the largest radius in [0, at_most] at which `holds`, (count,) radii to bool, was found true by
    bisection."""
    low = torch.zeros(count, dtype=torch.float64)
    high = torch.full_like(low, at_most)
    for _ in range(steps):
        middle = (low + high) / 2
        good = holds(middle).cpu()
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    return low
