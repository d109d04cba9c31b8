"""Feature squeezing as an input filter: fewer grey levels, and a median over a small window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.model import Guard, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    bit_depth: int = param(4, "bits per value that are kept; 8 leaves 8-bit images as they are", at_least=1, at_most=8)
    window: int = param(2, "side of the median's window; 1: no smoothing", at_least=1, unit="pixels")


class FeatureSqueezing:
    """Bit depth reduction, then median smoothing (Xu et al. 2018, sections III.A and III.B). Rounding has no useful
    gradient, so an adaptive attacker's passes straight through both (backward pass differentiable approximation,
    Athalye et al. 2018, section 4.1)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from sparring.model import Guard, TransformedModel

        return Guard(TransformedModel(model, self.squeezed, backward="identity"))

    def squeezed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to the same, on the grid of multiples of 1 / (2^bits - 1)."""
        return median(reduced(x, self.params.bit_depth), self.params.window)


def reduced(x: Tensor, bits: int) -> Tensor:
    """`x` rounded to 2^bits levels."""
    levels = 2**bits - 1
    rounded: Tensor = (x * levels).round() / levels
    return rounded


def median(x: Tensor, window: int) -> Tensor:
    """Median over a `window` x `window` neighbourhood in each channel, borders mirrored (the edge itself repeated).

    With an even window the centre is the lower right of the middle pixels and the larger middle value is taken,
    as in `scipy.ndimage.median_filter`, which Xu et al. use.
    """
    rows, columns = (_mirrored(size, window).to(x.device) for size in x.shape[2:])
    padded, (height, width) = x[:, :, rows][:, :, :, columns], x.shape[2:]
    values = [padded[:, :, i : i + height, j : j + width] for i in range(window) for j in range(window)]
    middle = window * window // 2
    for last in range(len(values) - 1, middle - 1, -1):  # bubble sort of whole images: ten times as fast as kthvalue
        for i in range(last):
            low, high = values[i].minimum(values[i + 1]), values[i].maximum(values[i + 1])
            values[i], values[i + 1] = low, high
    return values[middle]


def _mirrored(size: int, window: int) -> Tensor:
    """Indices into an axis of `size` pixels, padded for a window: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..."""
    import torch

    wanted = torch.arange(-(window // 2), size + window - 1 - window // 2) % (2 * size)
    return torch.where(wanted < size, wanted, 2 * size - 1 - wanted)


SPEC = DefenceSpec(
    name="feature-squeezing",
    summary="Fewer grey levels and median smoothing in front of the model.",
    citation="Xu, Evans, Qi 2018, Feature squeezing, section III; arXiv 1704.01155",
    params=Params,
    randomised=False,
    load=FeatureSqueezing,
    acts=frozenset({Act.GUARD}),
)
