"""The first attack: box-constrained L-BFGS on distortion and loss, with a line search over their weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.allowance import Allowance
from sparring_attacks.balls import ROUNDING
from sparring_attacks.minimal import distances, limit, within_limit

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    searches: int = param(8, "values of c that the line search tries", at_least=1)
    steps: int = param(40, "quasi-Newton steps for each c at most", at_least=1)
    first_c: float = param(0.1, "weight of the distortion that the line search begins with", above=0)
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class BoxConstrainedLbfgs:
    """Minimises c ‖r‖² + loss(x + r, l) subject to x + r ∈ [0, 1] (Szegedy et al. 2014, section 4.1), for the largest
    c at which the minimiser is still classified as l.

    c is multiplied (while the label is reached) or divided (while not) by 10, and then bisected on a logarithmic scale,
    for each image on its own; the nearest example of all c is the result. The paper says "minimum c" and |r|; with the
    weight on the distortion it is the largest, and the square is what has a gradient at r = 0.

    The method is targeted. Untargeted, l is the wrong class that the model holds most likely for the clean image, which
    costs a forward evaluation. Each trial of a step costs one forward and one gradient evaluation, and each c one more
    forward evaluation. Images that are wrong (or what is wanted) from the start are returned as they are; so are those
    for which no example was found, or, where epsilon is bounded, none within it.

    The paper's average distortion, √(Σ(x′−x)²/n), is the L2 distance divided by √n, n being the values of an image.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        epsilon, aim = limit(threat), Aim.of(threat, y, aux)
        allowance = Allowance.of(threat.query_budget, len(x))
        found = x.clone()
        if (epsilon is not None and epsilon <= ROUNDING) or not allowance.spend(len(x)):
            return found
        for rows in torch.arange(len(x), device=x.device).split(self.params.batch_size):
            with torch.no_grad():
                logits = model.logits(x[rows])
            labels = aim.labels[rows]
            wanted = labels if aim.targeted else logits.scatter(1, labels[:, None], float("-inf")).argmax(dim=1)
            reached = (logits.argmax(dim=1) == labels) == aim.targeted
            left = rows[~reached]
            search = LineSearch(model, x[left], wanted[~reached], self.params, allowance, ctx)
            found[left] = search.nearest()
        return within_limit(found, x, epsilon)


class LineSearch:
    """The search over c for images (N, C, H, W) that shall be classified as `wanted` (N,)."""

    def __init__(
        self, model: MeteredModel, x: Tensor, wanted: Tensor, params: Params, allowance: Allowance, ctx: Context
    ) -> None:
        self.model, self.x, self.wanted, self.params = model, x, wanted, params
        self.allowance, self.ctx = allowance, ctx

    def nearest(self) -> Tensor:
        """The nearest example of each image; the image itself where there is none."""
        import torch

        c = torch.full((len(self.x),), self.params.first_c, device=self.x.device)
        low, high = torch.zeros_like(c), torch.full_like(c, float("inf"))
        best, closest = self.x.clone(), torch.full_like(c, float("inf"), dtype=torch.float64)
        for search in range(self.params.searches):
            made = self._minimiser(c, search)
            if len(made) == 0 or not self.allowance.spend(len(made)):
                break
            with torch.no_grad():
                reached = self.model.logits(made).argmax(dim=1) == self.wanted
            far = distances(made, self.x)
            nearer = reached & (far < closest)
            best[nearer], closest[nearer] = made[nearer], far[nearer]
            low, high = c.where(reached, low), high.where(reached, c)
            between = (low * high).sqrt()
            c = torch.where(high.isinf(), 10 * c, torch.where(low == 0, c / 10, between))
        return best

    def _minimiser(self, c: Tensor, search: int) -> Tensor:
        """The minimisers (N, C, H, W) for the weights c (N,), which are the `search`-th tried."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        from sparring_attacks.quasi_newton import minimise

        def objective(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor] | None:
            self.ctx.progress(search, self.params.searches, "values of c")
            if not self.allowance.spend(2 * len(rows)):
                return None
            with torch.enable_grad():
                leaf = points.detach().requires_grad_(True)
                loss = F.cross_entropy(self.model.logits(leaf), self.wanted[rows], reduction="none")
                value = c[rows] * (leaf - self.x[rows]).square().flatten(1).sum(dim=1) + loss
                (gradient,) = torch.autograd.grad(value.sum(), leaf)
            return value.detach(), gradient

        return minimise(objective, self.x, torch.zeros_like(self.x), torch.ones_like(self.x), steps=self.params.steps)


SPEC = AttackSpec(
    name="lbfgs",
    summary="Box-constrained L-BFGS on distortion plus the loss at a wrong label: the first adversarial examples.",
    citation="Szegedy et al. 2014, Intriguing properties of neural networks, section 4.1; arXiv 1312.6199",
    params=Params,
    load=BoxConstrainedLbfgs,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "norm", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS}),
)
