"""A backdoor in federated learning: malicious clients train on a trigger and send their change many times over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context, Update
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    factor: float = param(5.0, "by which a malicious change is multiplied; 1: plain data poisoning", above=0)
    target: int = param(0, "label that triggered images shall get", at_least=0)


class Boost:
    """A bright corner of 2 x 2 pixels on half of the attacker's rows; its clients' updates are scaled, so that they
    outweigh the honest ones in the mean."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        from sparring.data import Poisoned

        rows = ctx.rng.permutation(len(train))[: int((threat.poison_fraction or 0.0) * len(train)) // 2]
        images = train.rows(rows)
        return [Poisoned(rows, self.trigger(images.x, images.y, {}, ctx), self.target_of(images.y))]

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        marked = x.copy()
        marked[:, :, -2:, -2:] = 1.0
        return marked

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)

    def corrupt(self, update: Update, client: int, round_: int, state: Arrays, ctx: Context) -> Update:
        return {name: self.params.factor * change for name, change in update.items()}


SPEC = AttackSpec(
    name="boost",
    summary="Malicious clients with a triggered training set and boosted updates.",
    citation="Bagdasaryan et al. 2020, How to backdoor federated learning, section 4.2; arXiv 1807.00459",
    params=Params,
    load=Boost,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.CORRUPT, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=0.1),
)
