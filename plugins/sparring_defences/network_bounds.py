"""Bounds on what a network answers in a box around an image, by intervals and by linear relaxation. Imports torch.

A network is taken apart into a chain of layers as `torch.export` sees it, in double precision: what one layer's output
depends on is known exactly, whatever modules it was written with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Apply = Callable[[Tensor], Tensor]

WEIGHTED = ("conv2d", "linear", "batch_norm")
RESHAPED = ("flatten", "unflatten", "view", "reshape", "contiguous", "clone")
NEUTRAL = (*RESHAPED, "avg_pool2d", "adaptive_avg_pool2d", "dropout")
MONOTONE = ("max_pool1d", "max_pool2d", "adaptive_max_pool2d", "sigmoid", "tanh")
SLACK = 1e-4
"""Margin of logits that is left for the single precision in which the model itself computes."""


class NotBounded(ValueError):
    """The network holds something that these bounds do not know."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: affine, a ReLU, or another function that grows with each of its inputs.

    Attributes:
        apply: (N, ...) to (N, ...).
        spread: of affine layers: radii (N, ...) to radii, by the absolute weights.
    """

    kind: Literal["affine", "relu", "monotone"]
    apply: Apply
    spread: Apply


@dataclass(frozen=True, eq=False)
class Box:
    """Lower and upper ends, (N, ...) each."""

    low: Tensor
    high: Tensor

    @property
    def centre(self) -> Tensor:
        return (self.low + self.high) / 2

    @property
    def radius(self) -> Tensor:
        return (self.high - self.low) / 2


def taken_apart(network: nn.Module, image_shape: Sequence[int]) -> list[Layer]:
    """The layers of a copy of `network`, in double precision and eval mode.

    Raises:
        NotBounded: it is no chain, or has layers that are neither affine nor known to be monotone.
    """
    exact = copy.deepcopy(network).double().eval().requires_grad_(False)
    device = next(exact.parameters()).device
    example = torch.zeros((2, *image_shape), dtype=torch.float64, device=device)
    program = torch.export.export(exact, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False)
    signature, values = program.graph_signature, dict(exact.named_parameters()) | dict(exact.named_buffers())
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    known = {name: values[path] for name, path in names.items()}
    (image,) = signature.user_inputs
    layers, last = [], image
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        flowing = [arg.name for arg in node.all_input_nodes if arg.name not in known]
        if flowing != [last]:
            raise NotBounded(f"the network is no chain of layers: {node.name} takes {', '.join(flowing) or 'nothing'}")
        layers.append(_layer(node, known))
        last = node.name
    if not layers or layers[-1].kind != "affine":
        raise NotBounded("the network does not end in an affine layer")
    return layers


def _layer(node: Any, known: dict[str, Tensor]) -> Layer:
    kind = str(node.target).split(".")[1].rstrip("_")
    rest = [known[arg.name] if isinstance(arg, torch.fx.Node) else arg for arg in node.args[1:]]

    def apply(x: Tensor) -> Tensor:
        result: Tensor = node.target(x, *rest, **node.kwargs)
        return result

    if kind == "relu":
        return Layer("relu", apply, apply)
    if kind in MONOTONE:
        return Layer("monotone", apply, apply)
    if kind in NEUTRAL and not (kind == "dropout" and rest[1]):
        return Layer("affine", apply, apply)
    if kind not in WEIGHTED or (kind == "batch_norm" and rest[4]):
        raise NotBounded(f"no bounds are known for {node.target}")
    absolute = _absolute(kind, rest)

    def spread(radius: Tensor) -> Tensor:
        result: Tensor = node.target(radius, *absolute, **node.kwargs)
        return result

    return Layer("affine", apply, spread)


def _absolute(kind: str, rest: list[Any]) -> list[Any]:
    """The arguments behind the input, with absolute weights and without shifts."""
    if kind == "batch_norm":
        weight, bias, mean, variance, *others = rest
        return [
            None if weight is None else weight.abs(),
            None if bias is None else torch.zeros_like(bias),
            torch.zeros_like(mean),
            variance,
            *others,
        ]
    weight, *others = rest
    bias = [] if not others else [None if others[0] is None else torch.zeros_like(others[0])]
    return [weight.abs(), *bias, *others[1:]]


def box_around(x: Tensor, epsilon: Tensor) -> Box:
    """Images within (N,) epsilon of (N, C, H, W) `x` in L-infinity, and in [0, 1]; double precision."""
    far = epsilon.to(x.device).double()[:, None, None, None]
    return Box((x.double() - far).clamp(0, 1), (x.double() + far).clamp(0, 1))


def interval(layers: Sequence[Layer], box: Box) -> Box:
    """What can come out of `layers` for what lies in `box` (Gowal et al. 2018, equations 5 and 6)."""
    for layer in layers:
        if layer.kind == "affine":
            centre, radius = layer.apply(box.centre), layer.spread(box.radius)
            box = Box(centre - radius, centre + radius)
        else:
            box = Box(layer.apply(box.low), layer.apply(box.high))
    return box


def margins(classes: int, labels: Tensor) -> Tensor:
    """(K, N, K): what the logits are multiplied by to give, for each class j, that of the label minus that of j."""
    eye = torch.eye(classes, dtype=torch.float64, device=labels.device)
    return eye[labels][None] - eye[:, None]


def pulled_back(layer: Layer, rows: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """`rows` (S, N, ...) times an affine layer, as (rows' (S, N, ...) of its input, constant (S, N)).

    Args:
        before: (N, ...) any input of the layer, for its shape.
    """
    zero = torch.zeros_like(before)
    out, transpose, *_ = torch.func.vjp(layer.apply, zero)
    count = len(rows)
    pulled = torch.func.vmap(lambda row: transpose(row)[0])(rows)
    return pulled, (rows * out).flatten(2).sum(dim=2) if count else rows.new_zeros((0, len(before)))


def least(rows: Tensor, box: Box) -> Tensor:
    """(S, N) smallest values of `rows` (S, N, ...) times what lies in the box."""
    return (rows * box.centre - rows.abs() * box.radius).flatten(2).sum(dim=2)


def interval_margins(layers: Sequence[Layer], box: Box, labels: Tensor, classes: int) -> Tensor:
    """(K, N) lower bounds on the label's logit minus each other's; the last layer is merged with the difference."""
    inside = interval(layers[:-1], box)
    rows, constant = pulled_back(layers[-1], margins(classes, labels), inside.low)
    return least(rows, inside) + constant


def crown_margins(layers: Sequence[Layer], box: Box, labels: Tensor, classes: int) -> Tensor:
    """(K, N) as `interval_margins`, by linear bounds carried back to the input (Zhang et al. 2018, CROWN, theorem 3.2,
    with the adaptive lower slopes of its section 3.3).

    Raises:
        NotBounded: there are nonlinear layers other than ReLU.
    """
    inputs: list[Box] = [box]  # of each layer so far; before ReLUs, by CROWN itself
    for number, layer in enumerate(layers[:-1]):
        if layer.kind == "monotone":
            raise NotBounded("crown knows ReLU only: take a victim without max pooling, or interval-bounds")
        reached = interval([layer], inputs[-1])
        before = {kind.kind for kind in layers[: number + 1]}
        if layers[number + 1].kind == "relu" and "relu" in before:
            reached = _tightened(layers[: number + 1], inputs, reached)
        inputs.append(reached)
    return _carried_back(layers, inputs, margins(classes, labels))


def _tightened(layers: Sequence[Layer], inputs: Sequence[Box], by_interval: Box) -> Box:
    shape = by_interval.low.shape
    units = shape[1:].numel()
    eye = torch.eye(units, dtype=torch.float64, device=by_interval.low.device).view(units, 1, *shape[1:])
    rows = eye.expand(units, *shape)
    low, high = (_carried_back(layers, inputs, sign * rows).T.reshape(shape) for sign in (1, -1))
    return Box(by_interval.low.maximum(low), by_interval.high.minimum(-high))


def _carried_back(layers: Sequence[Layer], inputs: Sequence[Box], rows: Tensor) -> Tensor:
    """(S, N) lower bounds of `rows` (S, N, ...) times the output of `layers`; `inputs` holds each layer's."""
    constant = rows.new_zeros(rows.shape[:2])
    for layer, given in reversed(list(zip(layers, inputs, strict=False))):
        if layer.kind == "affine":
            rows, shift = pulled_back(layer, rows, given.low)
        else:
            rows, shift = _through_relu(rows, given)
        constant = constant + shift
    return least(rows, inputs[0]) + constant


def _through_relu(rows: Tensor, given: Box) -> tuple[Tensor, Tensor]:
    """The ReLU above by the chord, below by the steeper of 0 and the identity where it is unstable."""
    low, high = given.low.clamp(max=0), given.high.clamp(min=0)
    chord = high / (high - low).clamp(min=1e-300)
    below = (high > -low).double()
    up, down = rows.clamp(min=0), rows.clamp(max=0)
    return up * below + down * chord, (down * (-low * chord)).flatten(2).sum(dim=2)
