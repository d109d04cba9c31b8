"""Sign-OPT: the shortest direction out of the class, by signs of its derivative, from decisions alone."""

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
    directions: int = param(200, "random directions of one gradient estimate", at_least=1)
    spread: float = param(0.001, "how far they lie from the direction that is improved", above=0)
    first_step: float = param(0.2, "first length of a step", above=0)
    starts: int = param(100, "Gaussian directions that are tried as a start", at_least=1)


class SignOpt:
    """Minimises over directions θ the distance g(θ) at which the class is left. Whether g grows towards a random
    direction takes a single query; the mean of these signs makes a step (Cheng et al. 2020, algorithm 1). The nearest
    image that was asked about is the result.

    It goes on until the query budget is spent, or the steps become too short. Untargeted only: ART's bisection for
    targets starts from the wrong side (sign_opt.py, `_fine_grained_binary_search`).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        queries = threat.query_budget or SPEC.threat.query_budget or 0

        def generate(classifier: Any, image: Any, label: Any, search: art_adapter.Search) -> Any:
            attack = _batched()(
                classifier,
                targeted=False,
                epsilon=self.params.spread,
                num_trial=self.params.starts,
                max_iter=queries,  # the query budget ends it before
                query_limit=queries,
                k=self.params.directions,
                alpha=self.params.first_step,
                verbose=False,
            )
            # generate refuses two classes, whatever the classifier puts out (sign_opt.py: `targets.shape[1] == 1`)
            return attack._attack(image[0], int(label.argmax()))

        aim = Aim(y, targeted=False)
        return kept_within(art_adapter.nearest(generate, model, x, aim, Norm.L2, queries, ctx), x, threat)


def _batched() -> Any:
    """ART's SignOPT, whose random directions are asked about in one batch, not one by one (sign_opt.py,
    `_sign_grad`)."""
    import numpy as np
    from art.attacks.evasion import SignOPTAttack

    class Batched(SignOPTAttack):  # type: ignore[misc]
        def _sign_grad(
            self, x_0: Any, y_0: int, epsilon: float, theta: Any, initial_lbd: float, target: int | None
        ) -> tuple[Any, int]:
            around = np.random.randn(self.k, *theta.shape).astype(np.float32)  # noqa: NPY002
            around /= np.linalg.norm(around.reshape(self.k, -1), axis=1).reshape(-1, 1, 1, 1)
            turned = theta + epsilon * around
            turned /= np.linalg.norm(turned.reshape(self.k, -1), axis=1).reshape(-1, 1, 1, 1)
            kept = self.estimator.predict(x_0 + initial_lbd * turned).argmax(axis=1) == y_0
            signs = np.where(kept, 1.0, -1.0).astype(np.float32)
            return np.tensordot(signs, around, axes=1) / self.k, self.k

    return Batched


SPEC = AttackSpec(
    name="sign-opt",
    summary="The shortest way out of the class, by signs of its derivative, from decisions alone.",
    citation="Cheng et al. 2020, Sign-OPT: a query-efficient hard-label adversarial attack, algorithm 1; "
    "arXiv 1909.10773",
    params=Params,
    load=SignOpt,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.L2,),
    reads=frozenset({"budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.L2, budget=Budget.MINIMAL, query_budget=4000),
    needs=frozenset({Access.DECISIONS}),
)
