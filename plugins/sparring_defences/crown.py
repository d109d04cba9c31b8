"""CROWN: the radius within which no image gets another label, proven by linear bounds on ReLUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec
from sparring.threat import Access
from sparring_defences.interval_bounds import Params

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Certificate, Context
    from sparring.model import Model


class Crown:
    """Zhang et al. 2018: every ReLU lies between two lines; these are carried back from the difference of two logits
    to the pixels, where the smallest value in a box is exact. The bounds before every ReLU are found in the same way,
    unit by unit, so that the cost grows with the square of the depth and with the widths: for small networks without
    max pooling. The radius is the largest, by bisection, with which the label's logit stays above all others.

    auto-LiRPA, the authors' library, wants torch < 1.13 in its only version on the package index (0.3).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def certify(self, model: Model, x: Tensor, ctx: Context) -> Certificate:
        """Raises `NotBounded`, a `ValueError`, where the network has other layers or branches."""
        from sparring_defences.certified_radius import certified
        from sparring_defences.network_bounds import crown_margins

        return certified(model, x, crown_margins, self.params.largest, self.params.halvings, ctx)


SPEC = DefenceSpec(
    name="crown",
    summary="Proves by linear bounds on ReLUs within which L-infinity radius the label stays.",
    citation="Zhang et al. 2018, Efficient neural network robustness certification with general activation functions, "
    "section 3; arXiv 1811.00866",
    params=Params,
    randomised=False,
    load=Crown,
    acts=frozenset({Act.CERTIFY}),
    needs=frozenset({Access.DECISIONS, Access.WEIGHTS}),
)
