"""Feature adversaries: an image whose inner representation is that of a guide image of another class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.allowance import Allowance
from sparring_attacks.attacker_data import drawn_images
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(60, "quasi-Newton steps at most", at_least=1)
    guides: int = param(200, "images of the attacker's that serve as guides", at_least=1)
    candidates: int = param(20, "guides of another class that an image chooses among", at_least=1)
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class FeatureAdversary:
    """Minimises ‖φ(x′) − φ(guide)‖² subject to ‖x′ − x‖∞ ≤ ε and x′ ∈ [0, 1], by L-BFGS within that box (Sabour et al.
    2016, section 2, equations 1 and 2). φ is the layer before the last.

    The guide of an image is, among some drawn images of another class (targeted: of the wanted class), the one nearest
    to it in φ; in the paper it is any image. Where there is none, the image stays as it is.

    One forward evaluation per image and per drawn image at first, then one forward and one gradient evaluation per
    trial of a step. The label of the result plays no part in it.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        epsilon, aim = threat.epsilon or 0.0, Aim.of(threat, y, aux)
        allowance = Allowance.of(threat.query_budget, len(x))
        guides, labels = drawn_images(aux, self.params.guides, ctx)
        if epsilon <= ROUNDING or not allowance.spend(len(guides) + len(x)):
            return x.clone()
        with torch.no_grad():
            guiding = model.features(guides)
        found = x.clone()
        for batch, rows in enumerate(torch.arange(len(x), device=x.device).split(self.params.batch_size)):
            with torch.no_grad():
                apart = torch.cdist(model.features(x[rows]), guiding)
            same = labels[None, :] == aim.labels[rows, None]
            allowed = self._drawn(same if aim.targeted else ~same, ctx)
            apart = apart.masked_fill(~allowed, float("inf"))
            guided = apart.amin(dim=1).isfinite()
            left, goals = rows[guided], guiding[apart.argmin(dim=1)][guided]
            ctx.progress(batch * self.params.batch_size, len(x), "images")
            found[left] = self._like(goals, model, x[left], epsilon, allowance, ctx)
        return project(found, x, Norm.LINF, epsilon)

    def _drawn(self, allowed: Tensor, ctx: Context) -> Tensor:
        """(N, M) bool: at most `candidates` of the guides that are allowed for each image."""
        import torch

        order = torch.rand(allowed.shape, generator=ctx.generator).to(allowed.device).masked_fill(~allowed, 2.0)
        last = order.kthvalue(min(self.params.candidates, order.shape[1]), dim=1, keepdim=True).values
        return allowed & (order <= last)

    def _like(
        self, goals: Tensor, model: MeteredModel, x: Tensor, epsilon: float, allowance: Allowance, ctx: Context
    ) -> Tensor:
        """The images near `x` whose features come nearest to `goals` (N, D)."""
        import torch

        from sparring_attacks.quasi_newton import minimise

        in_time = replace(ctx, report=None)  # how many trials there will be is not known

        def objective(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor] | None:
            in_time.progress(0, 1)
            if not allowance.spend(2 * len(rows)):
                return None
            with torch.enable_grad():
                leaf = points.detach().requires_grad_(True)
                value = (model.features(leaf) - goals[rows]).square().sum(dim=1)
                (gradient,) = torch.autograd.grad(value.sum(), leaf)
            return value.detach(), gradient

        low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
        return minimise(objective, x, low, high, steps=self.params.steps)


SPEC = AttackSpec(
    name="feature-adversary",
    summary="An image near the clean one whose features are those of a guide image of another class.",
    citation="Sabour, Cao, Faghri & Fleet 2016, Adversarial manipulation of deep representations, section 2; "
    "arXiv 1511.05122",
    params=Params,
    load=FeatureAdversary,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF,),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS, Access.FEATURES, Access.TRAINING_DATA}),
)
