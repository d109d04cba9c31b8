"""ZOO: the attack of Carlini and Wagner without gradients, coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel
    from sparring_attacks.penalty_search import NearestExamples
    from sparring_attacks.query_ledger import QueryLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    coordinates: int = param(128, "values that a step changes, at two queries each", at_least=1)
    sampling: str = param(
        "uniform",
        "how they are drawn: all alike, or by how far their neighbourhood has been changed (importance)",
        choices=("uniform", "importance"),
    )
    learning_rate: float = param(0.01, "of ADAM: about how far a step moves a value", above=0, unit="[0, 1] pixels")
    difference: float = param(0.01, "how far a query moves a value, either way", above=0, unit="[0, 1] pixels")
    constant: float = param(10.0, "weight of the margin against the squared distance, to begin with", above=0)
    searches: int = param(9, "constants that are tried", at_least=1)
    steps: int = param(1000, "steps with one constant", at_least=1)


class ZerothOrderOptimization:
    """Coordinate-wise ADAM on |x' - x|² + c max(margin, 0), with the margin's partial derivatives from symmetric
    differences (Chen et al. 2017, equations 3 to 6 and algorithm 2), and binary search over c from the clean image.

    A run with one constant ends early where a tenth of its steps has not lowered the objective. The derivative of the
    distance is known and costs nothing. Values stay in [0, 1] by clipping, which the authors' code offers in the place
    of tanh; there is no reduction of the attack space, which the paper leaves out on small images.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        from sparring_attacks.aim import Aim
        from sparring_attacks.penalty_search import NearestExamples, PenaltyConstants
        from sparring_attacks.query_ledger import QueryLedger

        budget = threat.over(SPEC.threat).query_budget or 0
        ledger, nearest = QueryLedger(model, Aim.of(threat, y, aux), budget), NearestExamples(x)
        rows = ledger.affording(1)
        wrong = ledger.judge(rows, x[rows]) < 0 if len(rows) else torch.zeros(0, dtype=torch.bool)
        nearest.offer(rows, x[rows], wrong)
        rows = rows[~wrong]
        constants = PenaltyConstants(self.params.constant, torch.zeros(len(x), device=x.device))
        for _ in range(self.params.searches):
            reached = self._descend(ledger, nearest, x, rows, constants.value, ctx)
            constants.tried(rows, reached[rows])
        ledger.report(ctx)
        return nearest.images

    def _descend(
        self,
        ledger: QueryLedger,
        nearest: NearestExamples,
        x: Tensor,
        rows: Tensor,
        constant: Tensor,
        ctx: Context,
    ) -> Tensor:
        """(N,) bool: which of the images `rows` reached the aim with their constants (N,), each from the clean one."""
        import torch

        from sparring_attacks.coordinate_adam import AdamRates, CoordinateAdam
        from sparring_attacks.penalty_search import penalised
        from sparring_attacks.query_ledger import progress

        change = torch.zeros_like(x).flatten(1)
        adam = CoordinateAdam(change, AdamRates(self.params.learning_rate))
        count = min(self.params.coordinates, change.shape[1])
        reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        before, lowest = (torch.full((len(x),), float("inf"), device=x.device) for _ in range(2))
        patience = max(1, self.params.steps // 10)
        for step in range(1, self.params.steps + 1):
            rows = rows[ledger.spent[rows] + 2 * count + 1 <= ledger.budget]
            if len(rows) == 0:
                break
            at = self._drawn(change[rows].view_as(x[rows]), count, ctx)
            slopes = self._slopes(ledger, rows, x[rows], change[rows], at)
            derivative = 2 * change[rows].gather(1, at) + constant[rows, None] * slopes
            change[rows[:, None], at] -= adam.step(rows, at, derivative)
            images = (x[rows] + change[rows].view_as(x[rows])).clamp(0, 1)
            change[rows] = (images - x[rows]).flatten(1)
            margins = ledger.judge(rows, images)
            nearest.offer(rows, images, margins < 0)
            reached[rows[margins < 0]] = True
            objective = penalised(change[rows].square().sum(dim=1), margins, constant[rows])
            lowest[rows] = lowest[rows].minimum(objective)
            progress(ledger, rows, ctx)
            if step % patience == 0:
                improved = lowest[rows] < 0.9999 * before[rows]
                before[rows] = lowest[rows]
                rows = rows[improved]
        return reached

    def _drawn(self, change: Tensor, count: int, ctx: Context) -> Tensor:
        """(M, count) distinct coordinates for each of the (M, C, H, W) changes so far."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        weights = torch.ones(change.flatten(1).shape)
        if self.params.sampling == "importance":
            near = F.max_pool2d(change.abs(), 3, stride=1, padding=1).flatten(1).cpu()
            weights = near + near.mean(dim=1, keepdim=True).clamp(min=1e-6) / 10  # none is ruled out
        return torch.multinomial(weights, count, generator=ctx.generator).to(change.device)

    def _slopes(self, ledger: QueryLedger, rows: Tensor, x: Tensor, change: Tensor, at: Tensor) -> Tensor:
        """(M, B) partial derivatives of max(margin, 0) at the coordinates `at` (M, B), by two queries each."""
        import torch

        from sparring_attacks.query_ledger import ROWS_PER_CALL

        portions = []
        for some in at.split(max(1, ROWS_PER_CALL // (2 * len(rows))), dim=1):
            here = (x.flatten(1) + change).gather(1, some)
            ahead, behind = (here + self.params.difference).clamp(0, 1), (here - self.params.difference).clamp(0, 1)
            flat = (x.flatten(1) + change)[:, None].repeat(1, 2 * some.shape[1], 1)
            flat.scatter_(2, torch.cat([some, some], dim=1)[:, :, None], torch.cat([ahead, behind], dim=1)[:, :, None])
            margins = ledger.margins(rows, flat.view(len(x), -1, *x.shape[1:])).clamp(min=0)
            portions.append((margins[:, : some.shape[1]] - margins[:, some.shape[1] :]) / (ahead - behind))
        return torch.cat(portions, dim=1)


SPEC = AttackSpec(
    name="zoo",
    summary="The attack of Carlini and Wagner with coordinate-wise ADAM on differences; the distortion is the result.",
    citation="Chen, Zhang, Sharma, Yi, Hsieh 2017, ZOO: zeroth order optimization based black-box attacks to deep "
    "neural networks without training substitute models, section 3; arXiv 1708.03999",
    params=Params,
    load=ZerothOrderOptimization,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "norm", "budget", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL, query_budget=10_000),
    needs=frozenset({Access.SCORES}),
)
