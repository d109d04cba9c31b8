"""The boundary attack: a random walk along the decision boundary towards the image, from decisions alone."""

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
    sideways: float = param(0.01, "first step along the boundary, as a share of the distance to the image", above=0)
    towards: float = param(0.01, "first step towards the image, as a share of the distance", above=0)
    adaptation: float = param(0.667, "by which the steps are shortened when too few succeed", above=0, below=1)
    candidates: int = param(20, "steps along the boundary that are tried at a time", at_least=1)
    starts: int = param(100, "uniform noise images that are tried as a start", at_least=1)


class BoundaryWalk:
    """From an image that reaches the aim, small random steps along the boundary and towards the original, each kept if
    it still reaches the aim; both step lengths follow the rate of success (Brendel et al. 2018, algorithm 1). The
    nearest image that was asked about is the result.

    The walk is over when the query budget is spent, or when no step succeeds any more.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from art.attacks.evasion import BoundaryAttack

        aim, queries = Aim.of(threat, y, aux), threat.query_budget or SPEC.threat.query_budget or 0

        def generate(classifier: Any, image: Any, label: Any, search: art_adapter.Search) -> Any:
            attack = BoundaryAttack(
                classifier,
                targeted=aim.targeted,
                delta=self.params.sideways,
                epsilon=self.params.towards,
                step_adapt=self.params.adaptation,
                sample_size=self.params.candidates,
                max_iter=queries,  # the query budget ends it before
                verbose=False,
            )
            return attack.generate(image, label, x_adv_init=search.start(self.params.starts))

        return kept_within(art_adapter.nearest(generate, model, x, aim, Norm.L2, queries, ctx), x, threat)


SPEC = AttackSpec(
    name="boundary",
    summary="A random walk along the decision boundary towards the image, from decisions alone.",
    citation="Brendel, Rauber, Bethge 2018, Decision-based adversarial attacks: reliable attacks against black-box "
    "machine learning models, algorithm 1; arXiv 1712.04248",
    params=Params,
    load=BoundaryWalk,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL, query_budget=5000),
    needs=frozenset({Access.DECISIONS}),
)
