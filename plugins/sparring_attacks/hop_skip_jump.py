"""HopSkipJump: gradients estimated at the decision boundary, from decisions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks import art_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.distortion_limits import kept_within

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    first_samples: int = param(100, "queries of the first estimate; the t-th takes sqrt(t) times as many", at_least=1)
    most_samples: int = param(10_000, "queries of one gradient estimate at most", at_least=1)
    starts: int = param(100, "uniform noise images that are tried as a start", at_least=1)

    def __post_init__(self) -> None:
        if self.first_samples > self.most_samples:
            raise ValueError(f"first_samples = {self.first_samples} is more than most_samples = {self.most_samples}")


class HopSkipJumpSearch:
    """From an image that reaches the aim: bisection to the boundary, an estimate of the gradient there from random
    directions, a step along it whose length is halved until it reaches the aim (Chen et al. 2020, algorithm 2). The
    nearest image that was asked about is the result.

    It goes on until the query budget is spent.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from art.attacks.evasion import HopSkipJump

        aim, norm = Aim.of(threat, y, aux), threat.norm or Norm.L2
        queries = threat.query_budget or SPEC.threat.query_budget or 0

        def generate(classifier: Any, image: Any, label: Any, search: art_adapter.Search) -> Any:
            attack = HopSkipJump(
                classifier,
                targeted=aim.targeted,
                norm=2 if norm is Norm.L2 else "inf",
                max_iter=queries,  # the query budget ends it before
                init_eval=self.params.first_samples,
                max_eval=self.params.most_samples,
                verbose=False,
            )
            return attack.generate(image, label, x_adv_init=search.start(self.params.starts))

        return kept_within(art_adapter.nearest(generate, model, x, aim, norm, queries, ctx), x, threat)


SPEC = AttackSpec(
    name="hopskipjump",
    summary="Steps along gradients estimated at the decision boundary, from decisions alone.",
    citation="Chen, Jordan, Wainwright 2020, HopSkipJumpAttack: a query-efficient decision-based attack, algorithm 2; "
    "arXiv 1904.02144",
    params=Params,
    load=HopSkipJumpSearch,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2, Norm.LINF),
    reads=frozenset({"goal", "norm", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL, query_budget=2000),
    needs=frozenset({Access.DECISIONS}),
)
