"""Poison frogs: training images of the wanted class whose features meet those of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.feature_walk import Method, Walk, descended, features_of

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, IntArray, Poisoned, Targets
    from sparring.model import Model

DEFAULT_EPSILON = 7 / 255
DEFAULT_FRACTION = 0.032


class Distance(StrEnum):
    L2 = "l2"
    L1 = "l1"
    COSINE = "cosine"


class Choice(StrEnum):
    RANDOM = "random"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    bases: int | None = param(
        None, "poisoned images per target at most; null: as many as the poison fraction allows", at_least=1
    )
    choice: Choice = param(
        Choice.RANDOM,
        "which training images of the wanted class: any, or those whose features lie nearest to the target's",
    )
    distance: Distance = param(Distance.L2, "between features: l2 (squared), l1, or one minus their cosine")
    method: Method = param(Method.PGD, "fgsm: one step of the whole budget; pgd: several, each projected")
    steps: int = param(40, "gradient steps of pgd", at_least=1)
    step_size: float | None = param(None, "of pgd; null: 2.5 epsilon / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(64, "images moved at a time, whatever target they belong to", at_least=1)


class PoisonFrog:
    """min |f(z) - f(target)| over |z - base| <= ε for bases of the class that the target shall get, labels unchanged
    (Chan-Hon-Tong 2021, section 2.2, after Shafahi et al. 2018, equation 1, whose penalty on |z - base| becomes the
    bound). The bases of all targets are chosen target by target, and moved together."""

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
            raise ValueError("poison-frog needs targets and the features of the victim")
        wanted = features_of(aux.features, torch.from_numpy(np.array(targets.x)), self.params.batch_size, ctx)
        drawn = self._bases(train, targets.goal, self._allowed(train, threat), wanted, aux.features, ctx)
        counts = [len(rows) for rows in drawn]
        bases = train.rows(np.concatenate([np.empty(0, dtype=np.int64), *drawn]))
        owner = torch.repeat_interleave(torch.arange(len(drawn)), torch.tensor(counts)).to(ctx.device)
        measure = DISTANCES[self.params.distance]

        def apart(found: Tensor, rows: slice) -> Tensor:
            return measure(found, wanted[owner[rows]])

        moved = descended(aux.features, torch.from_numpy(np.array(bases.x)), apart, self._walk(threat), ctx)
        images = torch.split(moved, counts)
        return [
            Poisoned(rows, image.numpy(), train.y[rows].astype(np.int64))
            for rows, image in zip(drawn, images, strict=True)
        ]

    def _allowed(self, train: ArrayDataset, threat: ThreatModel) -> int:
        """How many rows each target may have poisoned; a fraction is rounded down."""
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        allowed = int(fraction * len(train) + 1e-9)  # 0.29 * 100 is 28.999...
        return allowed if self.params.bases is None else min(allowed, self.params.bases)

    def _bases(
        self, train: ArrayDataset, goals: IntArray, count: int, wanted: Tensor, features: Model, ctx: Context
    ) -> list[IntArray]:
        """The rows of each target's frogs, sorted; `wanted` (T, D) are the features of the targets."""
        import numpy as np
        import torch

        candidates = [np.flatnonzero(train.y == goal) for goal in goals]
        if self.params.choice is Choice.RANDOM:
            return [np.sort(ctx.rng.choice(rows, min(count, len(rows)), replace=False)) for rows in candidates]
        found = features_of(features, torch.from_numpy(np.array(train.x)), self.params.batch_size, ctx)
        apart = [
            (found[torch.from_numpy(c)] - target).square().sum(1) for c, target in zip(candidates, wanted, strict=True)
        ]
        orders = [distances.argsort(stable=True).cpu().numpy()[:count] for distances in apart]
        return [np.sort(rows[order]) for rows, order in zip(candidates, orders, strict=True)]

    def _walk(self, threat: ThreatModel) -> Walk:
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        return Walk.of(self.params.method, epsilon, self.params.steps, self.params.step_size, self.params.batch_size)


def _l2(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().sum()


def _l1(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).abs().sum()


def _cosine(found: Tensor, wanted: Tensor) -> Tensor:
    from torch.nn import functional as F  # noqa: N812

    return (1 - F.cosine_similarity(found, wanted, dim=1)).sum()


DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {
    Distance.L2: _l2,
    Distance.L1: _l1,
    Distance.COSINE: _cosine,
}
"""Summed over the images of a batch."""


SPEC = AttackSpec(
    name="poison-frog",
    summary="Training images of the wanted class, moved so that their frozen features meet those of the target.",
    citation="Shafahi et al. 2018, Poison frogs, section 3, arXiv 1804.00792; with the bound of Chan-Hon-Tong 2021, "
    "Features which are robust to adversarial attacks are also robust to several poisoning attacks, section 2.2",
    params=Params,
    load=PoisonFrog,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.TARGETED,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION, label_changes=False),
    needs=frozenset({Access.FEATURES}),
)
