"""Transfer: examples made against a surrogate, used against a victim that is never asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, AttackSpec, Kind, reference
from sparring.threat import MODEL_ACCESS, Access, Budget, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context, EvasionAttack
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    attack: Selection = reference(Kind.ATTACK, "pgd", "what is run against the surrogate")
    surrogate: Selection = reference(Kind.VICTIM, "cnn", "the model that it is run against")


class Transfer:
    """Runs the inner attack against the surrogate, with the threat model of the cell.

    The surrogate is fitted by the harness, as another repetition of that victim: where it is a victim of the board as
    well, the fit is shared. The victim itself is asked nothing, so one set of examples serves every victim and every
    defence. Goal, norm, budget and epsilon are the inner attack's; a query budget limits what it asks the surrogate.
    The inner attack may use all that the surrogate offers but its weights, and the attacker's data.

    Whenever the surrogate is asked, the time limit is looked at: the inner attack may report once a batch only, and a
    surrogate may be slower than the victims that it was written for.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from sparring.model import MeteredModel, TransformedModel

        quiet = replace(ctx, report=None)  # what is reported is up to the inner attack

        def in_time(images: Tensor) -> Tensor:
            quiet.progress(0, 1)
            return images

        timed = TransformedModel(aux.surrogates["surrogate"], in_time, "exact")
        allowed = None if threat.query_budget is None else threat.query_budget * len(x)
        surrogate = MeteredModel(timed, MODEL_ACCESS, allowed, attack=self.params.attack.name)
        inner: EvasionAttack = aux.attacks["attack"]
        return inner.perturb(surrogate, x, y, threat, aux, ctx)


SPEC = AttackSpec(
    name="transfer",
    summary="Any attack on any surrogate victim; its examples are used against the victim, which is asked nothing.",
    citation="Papernot, McDaniel & Goodfellow 2016, Transferability in machine learning; arXiv 1605.07277",
    params=Params,
    load=Transfer,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "budget", "epsilon", "query_budget"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, budget=Budget.BOUNDED, epsilon=0.1),
    needs=frozenset({Access.TRAINING_DATA}),
    surrogates=("surrogate",),
    plugins=("attack",),
)
