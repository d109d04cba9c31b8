"""A sticker: any change within a small mask, made to hold under shifts and changes of light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.margin import margin

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

ENOUGH = 10.0
"""A margin of logits beyond which a view is wrong for good, and leaves the steps to the others: C&W's confidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(40, "gradient steps", at_least=1)
    samples: int = param(4, "transformations that each step averages over", at_least=1)
    shift: int = param(1, "the view is shifted by this at most, in rows and in columns", at_least=0, unit="pixels")
    light: float = param(0.2, "the view is up to this part brighter or darker", at_least=0, below=1)
    step_size: float = param(0.2, "length of the first step; it falls to 0 along a line", above=0, unit="[0, 1] pixels")
    place: str = param(
        "gradient", "where the mask lies: where the loss is steepest, or in the middle", choices=("gradient", "centre")
    )
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class MaskedPatch:
    """Robust physical perturbations (Eykholt et al. 2018, section 3.1, equation 3) without what only a printer needs:
    within a square mask, a perturbation that lowers the margin in expectation over transformations of the view.

    The mask is the budget: ε pixels (L0), or the largest square that has no more. Within it any value in [0, 1] is
    allowed. It lies where the gradient of the margin at the clean image has the largest sum of absolute values (the
    paper places its stickers by a sparse perturbation), which costs two evaluations per image. Each step costs
    `samples` forward and gradient evaluations per image: sign steps on the mean hinge of the margins (Carlini and
    Wagner's loss; the paper's is the cross-entropy). A query budget lowers the number of steps.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        side, aim, steps = int((threat.epsilon or 0.0) ** 0.5), Aim.of(threat, y, aux), self._steps(threat.query_budget)
        if side == 0 or steps == 0 or len(x) == 0:
            return x.clone()
        made = []
        for rows in torch.arange(len(x), device=x.device).split(self.params.batch_size):
            mask = self._mask(model, x[rows], aim.rows(rows), side)
            made.append(self._patched(model, x[rows], aim.rows(rows), mask, steps, ctx))
        return torch.cat(made)

    def _steps(self, query_budget: int | None) -> int:
        if query_budget is None:
            return self.params.steps
        placing = 2 if self.params.place == "gradient" else 0
        return min(self.params.steps, max(query_budget - placing, 0) // (2 * self.params.samples))

    def _mask(self, model: MeteredModel, x: Tensor, aim: Aim, side: int) -> Tensor:
        """(N, 1, H, W) bool: a square for each image."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        height, width = x.shape[2:]
        tall, wide = min(side, height), min(side, width)
        if self.params.place == "gradient":
            steep = self._gradient(model, x, aim, 0, 0, torch.ones(len(x), device=x.device)).abs().sum(1, keepdim=True)
        else:
            rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
            near = -((rows[:, None] - (height - 1) / 2) ** 2) - (columns[None] - (width - 1) / 2) ** 2
            steep = near.expand(len(x), 1, height, width)
        sums = F.avg_pool2d(steep, (tall, wide), stride=1)
        corner = sums.flatten(1).argmax(dim=1)
        top, left = (corner // sums.shape[3]).view(-1, 1, 1, 1), (corner % sums.shape[3]).view(-1, 1, 1, 1)
        row = torch.arange(height, device=x.device).view(1, 1, -1, 1)
        column = torch.arange(width, device=x.device).view(1, 1, 1, -1)
        return (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)

    def _patched(self, model: MeteredModel, x: Tensor, aim: Aim, mask: Tensor, steps: int, ctx: Context) -> Tensor:
        import torch

        grey = torch.rand(x.shape, generator=ctx.generator).to(x.device)
        x_adv = grey.where(mask, x)
        for step in range(steps):
            gradient = torch.zeros_like(x)
            for _ in range(self.params.samples):
                down, right = torch.randint(
                    -self.params.shift, self.params.shift + 1, (2,), generator=ctx.generator
                ).tolist()
                light = 1 + self.params.light * (2 * torch.rand(len(x), generator=ctx.generator).to(x.device) - 1)
                gradient += self._gradient(model, x_adv, aim, down, right, light)
            length = self.params.step_size * (1 - step / steps)
            x_adv = (x_adv - length * gradient.sign()).clamp(0, 1).where(mask, x)
            ctx.progress(step + 1, steps, "steps")
        return x_adv

    def _gradient(self, model: MeteredModel, x_adv: Tensor, aim: Aim, down: int, right: int, light: Tensor) -> Tensor:
        """Of the margin's hinge, as it is seen shifted and in another light, in the image itself."""
        import torch

        with torch.enable_grad():
            leaf = x_adv.detach().requires_grad_(True)
            view = (shifted(leaf, down, right) * light.view(-1, 1, 1, 1)).clamp(max=1)
            loss = margin(model.logits(view), aim).clamp(min=-ENOUGH).sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """The images (N, C, H, W) moved by whole pixels; what comes in repeats the border."""
    from torch.nn import functional as F  # noqa: N812

    height, width = x.shape[2:]
    most = max(abs(down), abs(right))
    if most == 0:
        return x
    padded = F.pad(x, (most, most, most, most), mode="replicate")
    return padded[:, :, most - down : most - down + height, most - right : most - right + width]


SPEC = AttackSpec(
    name="masked-patch",
    summary="Any change within a small mask, made to hold under shifts and changes of light.",
    citation="Eykholt et al. 2018, Robust physical-world attacks on deep learning visual classification, section 3.1; "
    "arXiv 1707.08945",
    params=Params,
    load=MaskedPatch,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L0,),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L0, epsilon=25.0),
    needs=frozenset({Access.GRADIENTS}),
)
