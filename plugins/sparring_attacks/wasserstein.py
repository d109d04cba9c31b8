"""Wasserstein adversarial examples: brightness is moved to pixels nearby, none is added or taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.margin import margin

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    distance: float = param(
        0.5, "budget: Wasserstein-1 distance, the mean way of all brightness of an image", at_least=0, unit="pixels"
    )
    radius: int = param(2, "a step moves brightness by this many rows and columns at most", at_least=1, unit="pixels")
    steps: int = param(40, "gradient steps, each of which spends an equal part of the budget", at_least=1)
    moves: int = param(32, "values that a step takes brightness from, at most", at_least=1)
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class Wasserstein:
    """The budget of Wong, Schmidt & Kolter 2019 (section 3) with the local transport of their section 4.2, spent as
    Frank and Wolfe would (Wu, Wang & Yu 2020, section 5): along the moves that lower the margin the most for each
    pixel of way, as the gradient has it. ART's `Wasserstein`, which projects, overflows at its defaults. Here a step is
    a transport plan that has what it moves and finds room for it, so the image keeps its brightness and its range, and
    the costs of all plans together bound the distance from above.

    Channels are separate; what is counted is the brightness of all of them. A step costs one forward and one gradient
    evaluation for each image that still stands, and a query budget lowers their number. The budget is the plugin's own
    parameter: threat models know no such norm, and the judge measures what became of it in the usual ones.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        aim, steps = Aim.of(threat, y, aux), self.params.steps
        if threat.query_budget is not None:
            steps = min(steps, threat.query_budget // 2)
        if steps == 0 or len(x) == 0 or self.params.distance == 0:
            return x.clone()
        made = []
        for rows in torch.arange(len(x), device=x.device).split(self.params.batch_size):
            made.append(self._transported(model, x[rows], aim.rows(rows), steps, ctx))
        return torch.cat(made)

    def _transported(self, model: MeteredModel, x: Tensor, aim: Aim, steps: int, ctx: Context) -> Tensor:
        import torch

        x_adv = x.clone()
        budget = self.params.distance * x.flatten(1).sum(dim=1)
        spent, standing = torch.zeros_like(budget), torch.arange(len(x), device=x.device)
        for step in range(steps):
            margins, gradient = self._slope(model, x_adv[standing], aim.rows(standing))
            left = margins >= 0
            standing, gradient = standing[left], gradient[left]
            if len(standing) == 0:
                break
            allowed = budget[standing] * (step + 1) / steps - spent[standing]
            x_adv[standing], cost = self._moved(x_adv[standing], gradient, allowed)
            spent[standing] += cost
            ctx.progress(step + 1, steps, "steps")
        return x_adv

    def _slope(self, model: MeteredModel, x_adv: Tensor, aim: Aim) -> tuple[Tensor, Tensor]:
        """(N,) margins and (N, C, H, W) how they grow with each value."""
        import torch

        with torch.enable_grad():
            leaf = x_adv.detach().requires_grad_(True)
            margins = margin(model.logits(leaf), aim)
            (gradient,) = torch.autograd.grad(margins.sum(), leaf)
        return margins.detach(), gradient

    def _moved(self, x: Tensor, gradient: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """The images after a step that costs (N,) `allowed` at most, and what it cost."""
        import torch

        gain, target, way = self._best_moves(x, gradient)
        gain, source = gain.topk(min(self.params.moves, gain.shape[1]), dim=1)  # in falling order
        target, way = target.gather(1, source), way.gather(1, source)
        flat = x.flatten(1)
        wanted = (gain > 0).to(x.dtype)
        arrivals = torch.zeros_like(flat).scatter_add(1, target, wanted).gather(1, target).clamp(min=1)
        amount = wanted * torch.minimum(flat.gather(1, source), (1 - flat.gather(1, target)) / arrivals)
        cost = amount * way
        before = cost.cumsum(dim=1) - cost
        amount = amount * ((allowed[:, None] - before) / cost.clamp(min=1e-12)).clamp(0, 1)
        moved = flat.scatter_add(1, source, -amount).scatter_add(1, target, amount)
        return moved.clamp(0, 1).view_as(x), (amount * way).sum(dim=1)

    def _best_moves(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each value (N, C · H · W): by how much the best move from it lowers the margin, for each unit of
        brightness and pixel of way, where it goes, and its way. What is dark, or finds no room, gains -inf."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        reach, (height, width) = self.params.radius, x.shape[2:]
        index = torch.arange(x[0].numel(), device=x.device).view(1, *x.shape[1:])
        gains, targets, ways = [], [], []
        full = F.pad(x, (reach,) * 4, value=1.0)  # there is no room outside
        slopes = F.pad(gradient, (reach,) * 4)
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                if down == right == 0:
                    continue
                rows = slice(reach + down, reach + down + height)
                columns = slice(reach + right, reach + right + width)
                way = (down**2 + right**2) ** 0.5
                possible = (x > 0) & (full[:, :, rows, columns] < 1)
                gain = (gradient - slopes[:, :, rows, columns]) / way
                gains.append(gain.masked_fill(~possible, float("-inf")))
                targets.append((index + down * width + right).clamp(0, x[0].numel() - 1))
                ways.append(way)
        best, which = torch.stack(gains).max(dim=0)
        target = torch.stack(targets).expand(-1, len(x), *x.shape[1:]).gather(0, which[None])[0]
        way_of = torch.tensor(ways, dtype=x.dtype, device=x.device)[which]
        return best.flatten(1), target.flatten(1), way_of.flatten(1)


SPEC = AttackSpec(
    name="wasserstein",
    summary="Brightness is moved to pixels nearby, as far in all as the Wasserstein distance allows.",
    citation="Wong, Schmidt & Kolter 2019, Wasserstein adversarial examples via projected Sinkhorn iterations, "
    "sections 3 and 4.2, arXiv 1902.07906; Wu, Wang & Yu 2020, Stronger and faster Wasserstein adversarial attacks, "
    "arXiv 2008.02883",
    params=Params,
    randomised=False,
    load=Wasserstein,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    reads=frozenset({"goal", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION),
    needs=frozenset({Access.GRADIENTS}),
)
