"""Examples made against a surrogate, used against whatever victim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.cell import Selection
from sparring.plugin import Act, AttackSpec, Kind, reference
from sparring.threat import Access, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    attack: Selection = reference(Kind.ATTACK, "pgd", "what is run against the surrogate")
    surrogate: Selection = reference(Kind.VICTIM, "cnn", "the model that it is run against")


class Transfer:
    """Runs the inner attack against the surrogate with the threat model of the cell."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        from sparring.model import MeteredModel

        surrogate = MeteredModel(aux.surrogates["surrogate"], frozenset({Access.GRADIENTS, Access.DECISIONS}))
        inner: Any = aux.attacks["attack"]
        made: Tensor = inner.perturb(surrogate, x, y, threat, aux, ctx)
        return made


SPEC = AttackSpec(
    name="transfer",
    summary="Adversarial examples for a surrogate, transferred.",
    citation="Papernot et al. 2016, Transferability in machine learning; arXiv 1605.07277",
    params=Params,
    load=Transfer,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"norm", "epsilon"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=0.2),
    surrogates=("surrogate",),
    plugins=("attack",),
)
