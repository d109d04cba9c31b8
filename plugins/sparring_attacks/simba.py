"""SimBA: one pixel or one cosine frequency after the other, kept when the probability falls."""

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
    basis: str = param(
        "pixels",
        "directions: single values in random order, or low cosine frequencies first; square images only",
        choices=("pixels", "cosines"),
    )
    step_size: float = param(0.2, "length of a step along one direction", above=0, unit="[0, 1] pixels")
    frequencies: int = param(4, "frequencies per axis that the cosine basis begins with", at_least=1)


class SimpleBlackBox:
    """Tries a step back and forth along one direction of an orthonormal basis, keeps the better one if it lowers the
    probability of the true label (targeted: raises that of the wanted one), and goes on to the next direction (Guo et
    al. 2019, algorithm 1).

    Asks for two evaluations per direction, until the image falls or the query budget is spent.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from art.attacks.evasion import SimBA

        aim, queries = Aim.of(threat, y, aux), threat.query_budget or SPEC.threat.query_budget or 0

        def generate(classifier: Any, image: Any, label: Any, search: art_adapter.Search) -> Any:
            attack = SimBA(
                classifier,
                attack="px" if self.params.basis == "pixels" else "dct",
                max_iter=queries // 2,
                epsilon=self.params.step_size,
                freq_dim=min(self.params.frequencies, image.shape[2]),
                targeted=aim.targeted,
                verbose=False,
            )
            return attack.generate(image, label)

        return kept_within(art_adapter.nearest(generate, model, x, aim, Norm.L2, queries, ctx), x, threat)


SPEC = AttackSpec(
    name="simba",
    summary="Steps along single pixels or cosine frequencies, kept when the true label's probability falls.",
    citation="Guo et al. 2019, Simple black-box adversarial attacks, algorithm 1; arXiv 1905.07121",
    params=Params,
    load=SimpleBlackBox,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L2,),
    reads=frozenset({"goal", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L2, budget=Budget.MINIMAL, query_budget=1000),
    needs=frozenset({Access.PROBABILITIES}),
)
