"""AutoAttack: four parameter-free attacks in turn, each on what still stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import apgd, square, torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    preset: str = param(
        "standard",
        "standard: 100 steps of each attack, 5000 queries; reduced: 20 steps, 500 queries",
        choices=("standard", "reduced"),
    )
    batch_size: int = param(512, "images attacked at a time", at_least=1)


@dataclass(frozen=True)
class Preset:
    """Steps of the gradient attacks, and queries of the square attack."""

    steps: int
    queries: int


PRESETS = {"standard": Preset(100, 5000), "reduced": Preset(20, 500)}


@dataclass(frozen=True)
class Member:
    """One of the attacks: what it asks of one image at most, and how it is made from (module, seed)."""

    cost: int
    build: Callable[[nn.Module, int], Any]


class AutoAttack:
    """Auto-PGD on cross-entropy, Auto-PGD on the targeted difference of logits ratio, the targeted fast adaptive
    boundary attack, and the square attack, each on the images that withstood those before (Croce & Hein 2020, section
    5). Images that withstand all of them are left as they are.

    torchattacks' own AutoAttack takes 10 steps where the paper takes 100 (autoattack.py gives none to APGD, APGDT and
    FAB, whose default is 10); here its attacks are put together with the paper's numbers. A query budget leaves
    out members that it does not pay for in the worst case. In L2, the square attack is left out on image sizes that it
    cannot start on (`square.fills`).
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, epsilon = threat.norm or Norm.LINF, threat.epsilon or 0.0
        team = affordable(members(self.params.preset, norm, epsilon, model.classes, x), threat.query_budget)
        if epsilon <= ROUNDING or not team:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            import torchattacks

            watched = torchattacks_adapter.with_ranks(torchattacks_adapter.stoppable(module, ctx), 4)
            attacks = [member.build(watched, seed + number) for number, member in enumerate(team)]
            return torchattacks.MultiAttack(attacks) if len(attacks) > 1 else attacks[0]

        made = torchattacks_adapter.run(build, model, x, Aim(y, targeted=False), ctx, self.params.batch_size)
        return project(made, x, norm, epsilon)


def members(preset: str, norm: Norm, epsilon: float, classes: int, x: Tensor) -> list[Member]:
    """The four attacks in their order, on images such as `x`; after each, the survivors are asked about once."""
    steps, queries, targets = PRESETS[preset].steps, PRESETS[preset].queries, apgd.targets_of(classes)

    def auto_pgd(loss: str, towards: int) -> Member:
        return Member(
            2 + towards * apgd.cost(steps, loss),
            lambda module, seed: apgd.apgd(module, norm, epsilon, loss, steps, 1, towards, seed),
        )

    def boundary(module: nn.Module, seed: int) -> Any:
        import torchattacks

        return torchattacks.FAB(
            module,
            norm=apgd.NORMS[norm],
            eps=epsilon,
            steps=steps,
            seed=seed,
            multi_targeted=True,
            n_classes=targets + 1,
        )

    def squares(module: nn.Module, seed: int) -> Any:
        return square.square(module, norm, epsilon, queries, seed, x, square.Params())

    team = [
        auto_pgd("ce", 1),
        auto_pgd("dlr-targeted", targets),
        Member(2 + targets * (3 * steps + 3), boundary),
    ]
    if norm is Norm.L2 and not square.fills(x.shape[2], x.shape[3]):
        return team
    return [*team, Member(queries + square.OVERHEAD + 1, squares)]


def affordable(team: list[Member], query_budget: int | None) -> list[Member]:
    """The members, in their order, that `query_budget` evaluations per image pay for."""
    left = float("inf") if query_budget is None else query_budget
    kept: list[Member] = []
    for member in team:
        if member.cost <= left:
            kept.append(member)
            left -= member.cost
    return kept


SPEC = AttackSpec(
    name="autoattack",
    summary="Auto-PGD with two losses, fast adaptive boundary and square attack, each on what still stands.",
    citation="Croce & Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of diverse "
    "parameter-free attacks, section 5; arXiv 2003.01690",
    params=Params,
    load=AutoAttack,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS}),
)
