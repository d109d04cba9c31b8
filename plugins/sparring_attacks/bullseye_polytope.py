"""Bullseye polytope: training images of the wanted class whose mean feature is that of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.feature_walk import Method, Walk, descended, features_of
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets
    from sparring.model import Model

DEFAULT_EPSILON = 0.1
DEFAULT_FRACTION = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    bases: int | None = param(
        None, "poisoned images per target at most; null: as many as the poison fraction allows", at_least=1
    )
    steps: int = param(100, "gradient steps", at_least=1)
    step_size: float | None = param(None, "null: 2.5 epsilon / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(256, "images moved at a time; those of one target always together", at_least=1)


class BullseyePolytope:
    """min |f(target) - mean_j f(x_j)|² / |f(target)|² over |x_j - base_j| <= ε, for bases of the class that the target
    shall get, labels unchanged (Aghakhani et al. 2021, section 3, equation 3, for one known network). The target lies
    in the middle of the polytope of its poisons, where the convex polytope attack leaves it at the border.

    Steps follow the sign of the gradient instead of Adam. Targets are moved together. ART's attack never reads its
    target (bullseye_polytope_attack.py), so there is none to compare with.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the harness hands over no targets or no features."""
        import numpy as np
        import torch

        from sparring.data import Poisoned

        if targets is None or aux.features is None:
            raise ValueError("bullseye-polytope needs targets and the features of the victim")
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        most = fraction if self.params.bases is None else min(fraction, self.params.bases / len(train))
        drawn = [draw_rows(np.flatnonzero(train.y == goal), len(train), most, ctx.rng) for goal in targets.goal]
        bases = [torch.from_numpy(np.array(train.rows(rows).x)) for rows in drawn]
        wanted = features_of(aux.features, torch.from_numpy(np.array(targets.x)), self.params.batch_size, ctx)
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        moved: list[Tensor] = []
        for start, stop in _groups([len(rows) for rows in drawn], self.params.batch_size):
            moved += self._centred(aux.features, bases[start:stop], wanted[start:stop], epsilon, ctx)
        return [
            Poisoned(rows, images.numpy(), train.y[rows].astype(np.int64))
            for rows, images in zip(drawn, moved, strict=True)
        ]

    def _centred(
        self, features: Model, bases: list[Tensor], wanted: Tensor, epsilon: float, ctx: Context
    ) -> list[Tensor]:
        """The poisons of some targets, whose features are `wanted` (T, D); all are moved as one batch."""
        import torch

        counts = [len(base) for base in bases]
        owner = torch.repeat_interleave(torch.arange(len(bases)), torch.tensor(counts)).to(wanted.device)
        lengths = wanted.square().sum(dim=1).clamp(min=1e-12)
        shares = torch.tensor([1 / max(1, count) for count in counts]).to(wanted.device)

        def apart(found: Tensor, rows: slice) -> Tensor:
            middle = torch.zeros_like(wanted).index_add(0, owner, found * shares[owner][:, None])
            return ((middle - wanted).square().sum(dim=1) / lengths).sum()

        walk = Walk.of(Method.PGD, epsilon, self.params.steps, self.params.step_size, max(1, sum(counts)))
        return list(torch.split(descended(features, torch.cat(bases), apart, walk, ctx), counts))


def _groups(counts: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Neighbouring targets, first and past the last, whose images fit a batch of `size`; one target at least."""
    cuts, filled = [0], 0
    for number, count in enumerate(counts):
        if filled and filled + count > size:
            cuts.append(number)
            filled = 0
        filled += count
    return list(zip(cuts, [*cuts[1:], len(counts)], strict=True))


SPEC = AttackSpec(
    name="bullseye-polytope",
    summary="Training images of the wanted class, moved so that the mean of their frozen features meets the target's.",
    citation="Aghakhani, Meng, Wang, Kruegel & Vigna 2021, Bullseye polytope: a scalable clean-label poisoning attack "
    "with improved transferability, section 3; arXiv 2005.00191",
    params=Params,
    load=BullseyePolytope,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.TARGETED,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION, label_changes=False),
    needs=frozenset({Access.FEATURES}),
)
