"""Interval bound propagation: the radius within which no image gets another label, proven layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Certificate, Context
    from sparring.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    largest: float = param(0.5, "radius that is tried at most", above=0, at_most=1, unit="[0, 1] pixels")
    halvings: int = param(14, "steps of the search for each image's radius", at_least=1)


class IntervalBounds:
    """Gowal et al. 2018, section 3: the interval of every value, layer by layer, the last layer merged with the
    difference of two logits; the radius (L-infinity, images in [0, 1]) is the largest, by bisection, with which the
    label's logit stays above all others. Sound for all networks that are a chain of convolutions, linear layers,
    batch normalisation, pools and monotone activations; tight only for those that were trained for it."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def certify(self, model: Model, x: Tensor, ctx: Context) -> Certificate:
        """Raises `NotBounded`, a `ValueError`, where the network has other layers or branches."""
        from sparring_defences.certified_radius import certified
        from sparring_defences.network_bounds import interval_margins

        return certified(model, x, interval_margins, self.params.largest, self.params.halvings, ctx)


SPEC = DefenceSpec(
    name="interval-bounds",
    summary="Proves by intervals, layer by layer, within which L-infinity radius the label stays.",
    citation="Gowal et al. 2018, On the effectiveness of interval bound propagation for training verifiably robust "
    "models, section 3; arXiv 1810.12715",
    params=Params,
    randomised=False,
    load=IntervalBounds,
    acts=frozenset({Act.CERTIFY}),
    needs=frozenset({Access.DECISIONS, Access.WEIGHTS}),
)
