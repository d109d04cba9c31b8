"""Carlini and Wagner's L2 attack: distortion against a margin of logits, weighed by a binary search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING
from sparring_attacks.margin import margin
from sparring_attacks.minimal import limit, within_limit

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

INSET = 0.99
"""Images are drawn into the open cube by this before atanh. The authors' 1 - 1e-6 puts black and white pixels so far
out that a few hundred steps of Adam do not bring them back; torchattacks' 1 never does."""

PATIENCE = 20
"""Steps without a lower objective, at least, before an image leaves the batch: around the boundary Adam overshoots for
a few steps before it falls further, and a tenth of few steps would stop it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    searches: int = param(6, "values of c that the binary search tries", at_least=1)
    steps: int = param(100, "steps of Adam for each c at most; the authors' code makes up to 10000", at_least=1)
    learning_rate: float = param(0.1, "of Adam, in tanh space; the authors' is 0.01", above=0)
    first_c: float = param(1.0, "weight of the margin that the search begins with; the authors' is 0.001", above=0)
    confidence: float = param(0.0, "κ: how large the wrong margin of logits shall be", at_least=0)
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class CarliniWagner:
    """Minimises ‖x′ − x‖² + c · max(margin(x′), −κ) over w, with x′ = (tanh w + 1) / 2 (Carlini & Wagner 2017, sections
    V and VI.A), and keeps the nearest example that any c gave.

    c is multiplied by 10 until an example is found, and then bisected, for each image on its own. So is the early stop:
    an image leaves the batch for this c when its lowest objective fell by less than 0.01 % in a tenth of the steps (20
    at least). Images that are what the attacker wants from the start are returned as they are.

    One forward evaluation per image at first, then one forward and one gradient evaluation per step. A query budget
    first lowers the number of searches, then that of the steps. Where epsilon is bounded, images whose nearest example
    lies further are returned unchanged, as are those for which none was found.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        epsilon, aim = limit(threat), Aim.of(threat, y, aux)
        searches, steps = affordable(self.params.searches, self.params.steps, threat.query_budget)
        if steps == 0 or (epsilon is not None and epsilon <= ROUNDING):
            return x.clone()
        found = x.clone()
        for rows in torch.arange(len(x), device=x.device).split(self.params.batch_size):
            with torch.no_grad():
                standing = rows[margin(model.logits(x[rows]), aim.rows(rows)) >= -self.params.confidence]
            search = Search(model, x[standing], aim.rows(standing), self.params, steps, ctx)
            found[standing] = search.nearest(searches)
        return within_limit(found, x, epsilon)


def affordable(searches: int, steps: int, query_budget: int | None) -> tuple[int, int]:
    """(searches, steps of each) that `query_budget` evaluations per image pay for; (1, 0) where it pays for none."""
    if query_budget is None or query_budget > 2 * searches * steps:
        return searches, steps
    payable = max(query_budget - 1, 0) // 2
    return max(1, payable // steps), min(steps, payable)


class Search:
    """The binary search over c for a batch of images (N, C, H, W)."""

    def __init__(self, model: MeteredModel, x: Tensor, aim: Aim, params: Params, steps: int, ctx: Context) -> None:
        self.model, self.x, self.aim, self.params, self.steps, self.ctx = model, x, aim, params, steps, ctx

    def nearest(self, searches: int) -> Tensor:
        """The nearest example of each image; the image itself where there is none."""
        import torch

        c = torch.full((len(self.x),), self.params.first_c, device=self.x.device)
        low, high = torch.zeros_like(c), torch.full_like(c, float("inf"))
        best, closest = self.x.clone(), torch.full_like(c, float("inf"))
        for search in range(searches):
            examples, squares = self.with_weight(c, f"search {search + 1} of {searches}")
            nearer, reached = squares < closest, squares.isfinite()
            best[nearer], closest[nearer] = examples[nearer], squares[nearer]
            low, high = low.where(reached, c), c.where(reached, high)
            c = ((low + high) / 2).where(high.isfinite(), 10 * c)
        return best

    def with_weight(self, c: Tensor, note: str) -> tuple[Tensor, Tensor]:
        """Minimise for fixed c (N,): the nearest examples on the way, and their squared distances (N,), infinite
        where there is none."""
        import torch

        found, squares = self.x.clone(), torch.full_like(c, float("inf"))
        rows = torch.arange(len(c), device=c.device)
        w = torch.atanh((2 * self.x - 1) * INSET)
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        patience = max(self.steps // 10, PATIENCE)
        x, aim, lowest = self.x, self.aim, torch.full_like(c, float("inf"))
        earlier = lowest
        for step in range(self.steps):
            if len(rows) == 0:
                break
            if step % 10 == 0:
                self.ctx.progress(step, self.steps, note)
            example, square, margins, objective, gradient = self._evaluated(w, x, aim, c[rows])
            nearer = (margins <= -self.params.confidence) & (margins < 0) & (square < squares[rows])
            found[rows[nearer]], squares[rows[nearer]] = example[nearer], square[nearer]
            w, first, second = adam(w, gradient, first, second, step + 1, self.params.learning_rate)
            lowest = lowest.minimum(objective)
            if (step + 1) % patience == 0:
                falling = (lowest <= 0.9999 * earlier).nonzero().flatten()
                lowest = earlier = lowest[falling]
                if len(falling) < len(rows):
                    rows, w, first, second = rows[falling], w[falling], first[falling], second[falling]
                    x, aim = x[falling], aim.rows(falling)
        return found, squares

    def _evaluated(self, w: Tensor, x: Tensor, aim: Aim, c: Tensor) -> tuple[Tensor, ...]:
        """(example, its squared distance, its margin, the objective, the objective's gradient in w) at w."""
        import torch

        with torch.enable_grad():
            leaf = w.detach().requires_grad_(True)
            example = (torch.tanh(leaf) + 1) / 2
            square = (example - x).square().flatten(1).sum(dim=1)
            margins = margin(self.model.logits(example), aim)
            objective = square + c * margins.clamp(min=-self.params.confidence)
            (gradient,) = torch.autograd.grad(objective.sum(), leaf)
        return example.detach(), square.detach(), margins.detach(), objective.detach(), gradient


def adam(
    w: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) whose moments can be cut to the rows that go on.

    Args:
        first, second: running moments; they are updated in place.
        step: counted from 1.
    """
    first.lerp_(gradient, 0.1)
    second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    spread = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
    return w.addcdiv(first, spread, value=-rate / (1 - 0.9**step)), first, second


SPEC = AttackSpec(
    name="cw-l2",
    summary="The smallest distortion in L2, by descent on distortion plus c times a margin of logits.",
    citation="Carlini & Wagner 2017, Towards evaluating the robustness of neural networks, sections V and VI.A; "
    "arXiv 1608.04644",
    params=Params,
    load=CarliniWagner,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "norm", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS}),
)
