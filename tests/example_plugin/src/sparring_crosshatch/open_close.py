"""`open-close`: morphological opening and closing, which take thin lines away."""

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
    window: int = param(2, "side of the structuring element; 1: nothing is filtered", at_least=1, unit="pixels")


class OpenClose:
    """Opening (bright details smaller than the window go), then closing (dark ones go), in each channel. Most pixels
    have no useful gradient, so an adaptive attacker's passes straight through."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from sparring.model import Guard, TransformedModel

        return Guard(TransformedModel(model, self.filtered, backward="identity"))

    def filtered(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to the same."""
        import torch
        from scipy.ndimage import grey_closing, grey_opening

        if len(x) == 0:
            return x.clone()
        size = (1, 1, self.params.window, self.params.window)
        images = x.detach().cpu().numpy()
        return torch.from_numpy(grey_closing(grey_opening(images, size=size), size=size)).to(x)


SPEC = DefenceSpec(
    name="open-close",
    summary="Morphological opening and closing in front of the model.",
    citation="Maragos & Schafer 1987, Morphological filters, part II, section III",
    params=Params,
    randomised=False,
    load=OpenClose,
    acts=frozenset({Act.GUARD}),
    extra="morphology",
)
