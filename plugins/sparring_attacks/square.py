"""The square attack: random search with squares at the corners of the ball, from scores alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.apgd import NORMS
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

OVERHEAD = 3
"""Evaluations per image beside those of the search: before it, of its start, and after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    share: float = param(0.8, "of the image that the first squares cover", above=0, at_most=1)
    loss: str = param("margin", "what is lowered: the margin of the scores, or cross-entropy", choices=("margin", "ce"))
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class SquareAttack:
    """Sets random squares to random corners of the ball, and keeps what lowers the loss; squares shrink on a schedule
    over the query budget (Andriushchenko et al. 2020, algorithms 1 to 3). Images that fall are asked about no more;
    those that never fall are left as they are.

    Asks for one evaluation per image and step: the query budget is the number of steps, and `OVERHEAD`. The margin of
    logits is that of any scores of which the differences count. In L-infinity only: torchattacks' start in L2 tiles the
    image, and fails on sizes that its tiles do not fill, as 8 or 12 (see `fills`).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        epsilon = threat.epsilon or 0.0
        queries = (SPEC.threat.query_budget or 0) if threat.query_budget is None else threat.query_budget
        if epsilon <= ROUNDING or queries <= OVERHEAD:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            watched = torchattacks_adapter.stoppable(module, ctx)
            return square(watched, Norm.LINF, epsilon, queries - OVERHEAD, seed, x, self.params)

        made = torchattacks_adapter.run(build, model, x, Aim.of(threat, y, aux), ctx, self.params.batch_size)
        return project(made, x, Norm.LINF, epsilon)


def square(module: nn.Module, norm: Norm, epsilon: float, queries: int, seed: int, x: Tensor, params: Params) -> Any:
    """torchattacks' square attack of `queries` steps on images such as `x`.

    Its squares have a side of sqrt(share * height * width), whatever height and width are (square.py,
    `attack_single_run`): on oblong images they would not fit in, so the share is lowered.
    """
    import torchattacks

    short, area = min(x.shape[2:]), x.shape[2] * x.shape[3]
    share = min(params.share, (short - 1) ** 2 / area)
    settings = {"n_queries": queries, "n_restarts": 1, "p_init": share, "loss": params.loss, "seed": seed}
    return torchattacks.Square(module, norm=NORMS[norm], eps=epsilon, **settings)


def fills(height: int, width: int) -> bool:
    """Whether torchattacks' start in L2 tiles such images (square.py, `attack_single_run`): it begins at an offset, and
    still lays as many tiles as would fit without one."""
    side = height // 5
    if side == 0:
        return False
    offset = (height - 5 * side) // 2
    return all(offset + side * (length // side) <= length for length in (height, width))


SPEC = AttackSpec(
    name="square",
    summary="Random search with squares at the corners of the ball, from scores alone.",
    citation="Andriushchenko et al. 2020, Square attack: a query-efficient black-box adversarial attack via random "
    "search, algorithms 1 to 3; arXiv 1912.00049",
    params=Params,
    load=SquareAttack,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF,),
    reads=frozenset({"goal", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1, query_budget=1000),
    needs=frozenset({Access.SCORES}),
)
