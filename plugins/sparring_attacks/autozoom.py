"""AutoZOOM: random full-vector estimates in a smaller space in the place of ZOO's coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel
    from sparring_attacks.attack_spaces import AttackSpace
    from sparring_attacks.query_ledger import QueryLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    space: str = param(
        "bilinear",
        "how codes become perturbations: scaled up, or decoded by an autoencoder of the training images",
        choices=("bilinear", "autoencoder"),
    )
    reduction: int = param(2, "a code's height and width are the image's divided by it", at_least=1)
    directions: int = param(1, "random directions of an estimate until an example is found", at_least=1)
    fine_directions: int = param(4, "random directions of an estimate from then on", at_least=1)
    learning_rate: float = param(0.01, "of ADAM: about how far a step moves a value of the code", above=0)
    smoothing: float = param(0.3, "how far a query moves the code, about the L2 distance of its image", above=0)
    constant: float = param(10.0, "weight of the margin against the squared distance, to begin with", above=0)
    searches: int = param(9, "constants that are tried", at_least=1)
    steps: int = param(200, "steps with one constant", at_least=1)


class AutoZOOM:
    """ADAM on |x' - x|² + c max(margin, 0) as a function of a code, along differences in random directions of unit
    length: few until the first example is found, more to bring it nearer (Tu et al. 2019, section 3, equation 4 and
    algorithm 1).

    A constant is kept for `steps` steps, after which a binary search goes on from where the code is; the moments of
    ADAM begin anew then, and at the first example. Training images are used by the autoencoder only; they are declared
    as needed in either space.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from sparring_attacks.aim import Aim
        from sparring_attacks.attack_spaces import AutoencoderSpace, BilinearSpace, UnitScale
        from sparring_attacks.query_ledger import QueryLedger

        shape = (x.shape[1], x.shape[2], x.shape[3])
        plain: AttackSpace = BilinearSpace(shape, self.params.reduction)
        if self.params.space == "autoencoder":
            plain = AutoencoderSpace(shape, self.params.reduction, aux.train, ctx)
        space = UnitScale(plain, x.device, ctx.generator)
        ledger = QueryLedger(model, Aim.of(threat, y, aux), threat.over(SPEC.threat).query_budget or 0)
        search = _Search(self.params, ledger, space, x, ctx)
        search.run()
        ledger.report(ctx)
        return search.nearest.images


class _Search:
    """The codes of N images, and where each stands in its search.

    Args:
        params: of the attack.
        ledger: of the same images.
        space: that the codes live in.
        x: (N, C, H, W) clean images.
    """

    def __init__(self, params: Params, ledger: QueryLedger, space: AttackSpace, x: Tensor, ctx: Context) -> None:
        import torch

        from sparring_attacks.coordinate_adam import AdamRates, CoordinateAdam
        from sparring_attacks.penalty_search import NearestExamples, PenaltyConstants

        self.params, self.ledger, self.space, self.x, self.ctx = params, ledger, space, x, ctx
        self.codes = torch.zeros(len(x), space.size, device=x.device)
        self.adam = CoordinateAdam(self.codes, AdamRates(params.learning_rate))
        self.constants = PenaltyConstants(params.constant, torch.zeros(len(x), device=x.device))
        self.nearest = NearestExamples(x)
        self.reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)  # with the present constant
        self.margins, self.distance = (torch.zeros(len(x), device=x.device) for _ in range(2))  # of the present codes

    def run(self) -> None:
        """Spend the budgets, or all the steps."""
        import torch

        from sparring_attacks.query_ledger import progress

        params, ledger = self.params, self.ledger
        rows = ledger.affording(1)
        self._look(rows)
        rows = rows[self.margins[rows] >= 0]
        for step in range(1, params.searches * params.steps + 1):
            found = self.nearest.found[rows]
            directions = torch.full_like(rows, params.directions).masked_fill(found, params.fine_directions)
            affordable = ledger.spent[rows] + directions + 1 <= ledger.budget
            rows, directions = rows[affordable], directions[affordable]
            if len(rows) == 0:
                break
            for count in directions.unique().tolist():
                self._step(rows[directions == count], count)
            progress(ledger, rows, self.ctx)
            if step % params.steps == 0:
                self.constants.tried(rows, self.reached[rows])
                self.reached[rows] = False
                self.adam.forget(rows)

    def _step(self, rows: Tensor, directions: int) -> None:
        """One step of ADAM for the codes of the images `rows`, after which they are looked at."""
        import torch

        from sparring_attacks.gradient_estimators import on_sphere

        ways = on_sphere(self.codes[rows, None, None], directions, self.params.smoothing, self.ctx.generator)[
            :, :, 0, 0
        ]
        images = self._images(rows, self.codes[rows, None] + ways)
        there = self._objective(rows, self._distances(rows, images), self.ledger.margins(rows, images))
        here = self._objective(rows, self.distance[rows, None], self.margins[rows, None])
        gradient = ((there - here)[:, None] @ ways)[:, 0] / (directions * self.params.smoothing**2)
        everywhere = torch.arange(self.codes.shape[1], device=self.codes.device)[None]
        self.codes[rows] -= self.adam.step(rows, everywhere, gradient)
        self._look(rows)

    def _look(self, rows: Tensor) -> None:
        """Ask for the images of the present codes, and keep those that reach the aim and are nearer than others."""
        images = self._images(rows, self.codes[rows, None])[:, 0]
        margins = self.ledger.judge(rows, images)
        reached = margins < 0
        self.margins[rows], self.distance[rows] = margins, self._distances(rows, images[:, None])[:, 0]
        self.adam.forget(rows[reached & ~self.nearest.found[rows]])
        self.nearest.offer(rows, images, reached)
        self.reached[rows] |= reached

    def _images(self, rows: Tensor, codes: Tensor) -> Tensor:
        """(M, Q, C, H, W) images of the codes (M, Q, K)."""
        changes = self.space.decode(codes.flatten(0, 1)).view(*codes.shape[:2], *self.x.shape[1:])
        return (self.x[rows, None] + changes).clamp(0, 1)

    def _distances(self, rows: Tensor, images: Tensor) -> Tensor:
        """(M, Q) squared L2 distances of images (M, Q, C, H, W) from the clean ones."""
        return (images - self.x[rows, None]).flatten(2).square().sum(dim=2)

    def _objective(self, rows: Tensor, distance: Tensor, margins: Tensor) -> Tensor:
        """(M, Q) with the present constants."""
        from sparring_attacks.penalty_search import penalised

        return penalised(distance, margins, self.constants.value[rows, None])


SPEC = AttackSpec(
    name="autozoom",
    summary="ADAM along random differences in a smaller space, on the objective of Carlini and Wagner.",
    citation="Tu, Ting, Chen, Liu, Zhang, Yi, Hsieh, Cheng 2019, AutoZOOM: autoencoder-based zeroth order optimization "
    "method for attacking black-box neural networks, section 3; arXiv 1805.11770",
    params=Params,
    load=AutoZOOM,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "norm", "budget", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL, query_budget=2000),
    needs=frozenset({Access.SCORES, Access.TRAINING_DATA}),
)
