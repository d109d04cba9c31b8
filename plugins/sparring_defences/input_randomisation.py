"""Random resizing and padding of every image, anew at every call."""

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
    smallest: float = param(0.85, "smallest side after resizing, as a share of the image's", above=0, at_most=1)
    fill: float = param(0.0, "value around the resized image", at_least=0, at_most=1)


class InputRandomisation:
    """Each image is resized by nearest neighbours to a random size, and put at a random place of an empty image (Xie et
    al. 2018, section 3). Gradients pass as they are, so that an adaptive attacker averages over the randomness.

    The paper enlarges 299 pixels to 299 .. 331 in a frame of 331, for networks that take any size; victims here take
    one size, so that images shrink to `smallest` .. 1 of their sides (the paper's 0.90 .. 1 of its frame) and keep
    the frame.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        import torch

        from sparring.model import Guard, TransformedModel

        def placed(x: Tensor) -> Tensor:
            share, top, left = torch.rand((3, len(x), 1), generator=ctx.generator).to(x.device)
            return self.placed(x, share, top, left)

        return Guard(TransformedModel(model, placed, backward="exact"), randomised=True)

    def placed(self, x: Tensor, share: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """(N, C, H, W) images, each resized and moved; (N, 1) numbers in [0, 1) say where from the smallest size to the
        full one, and where from the upper (left) edge to the lower (right) one."""
        import torch

        (rows, above), (columns, beside) = (
            self._sources(size, share, at) for size, at in zip(x.shape[2:], (top, left), strict=True)
        )
        image = torch.arange(len(x), device=x.device)[:, None, None]
        moved = x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        inside = (above[:, :, None] & beside[:, None, :])[:, None]
        return torch.where(inside, moved, torch.full_like(moved, self.params.fill))

    def _sources(self, size: int, share: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """(N, size) which pixel of an axis comes where, and (N, size) bool, whether any does."""
        import torch

        least = max(1, round(self.params.smallest * size))
        new = least + (share * (size - least + 1)).floor()
        start = (at * (size - new + 1)).floor()
        position = torch.arange(size, device=share.device) - start
        source = ((position + 0.5) * size / new).floor()
        return source.clamp(0, size - 1).long(), (position >= 0) & (position < new)


SPEC = DefenceSpec(
    name="input-randomisation",
    summary="Resizes each image to a random size and puts it at a random place, in front of the model.",
    citation="Xie et al. 2018, Mitigating adversarial effects through randomization, section 3; arXiv 1711.01991",
    params=Params,
    load=InputRandomisation,
    acts=frozenset({Act.GUARD}),
)
