"""Influence functions as an attack: the training images that move the target's prediction the most, moved that way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.feature_walk import Method, Walk, descended, features_of

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets

DEFAULT_EPSILON = 0.1
DEFAULT_FRACTION = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    decay: float = param(1e-3, "L2 penalty of the softmax layer, whose loss is a mean", above=0)
    steps: int = param(40, "gradient steps", at_least=1)
    step_size: float | None = param(None, "null: 2.5 epsilon / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(256, "images moved at a time, whatever target they belong to", at_least=1)


class InfluencePoisoning:
    """Images z with |z - x| <= ε and unchanged labels that lower the target's loss at the wanted label, to the first
    order: -∇L(target)' H⁻¹ ∇L(z), for a softmax layer that the attacker fits on the frozen features (Koh & Liang 2017,
    section 2.2, equation 5, and section 5.2). All classes may be poisoned: the rows chosen are those whose influence
    changes fastest in their features. Influences are those of the clean layer; the paper fits it again after each step.
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
        from sparring_attacks.softmax_influence import SoftmaxLayer

        if targets is None or aux.features is None:
            raise ValueError("influence-poisoning needs targets and the features of the victim")
        params, features = self.params, aux.features
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        count = int(fraction * len(train) + 1e-9)  # 0.29 * 100 is 28.999...
        y = torch.from_numpy(np.array(train.y)).to(ctx.device)
        known = features_of(features, torch.from_numpy(np.array(train.x)), params.batch_size, ctx)
        images = features_of(features, torch.from_numpy(np.array(targets.x)), params.batch_size, ctx)
        goals = torch.from_numpy(np.array(targets.goal)).to(ctx.device)
        layer = SoftmaxLayer.fitted(known, y, train.classes, params.decay)
        wanted = layer.solved(known, images, goals)
        chosen = [layer.influence_slopes(known, y, one).norm(dim=1).argsort(descending=True)[:count] for one in wanted]
        rows = torch.cat([part.sort().values for part in chosen])
        owner = torch.repeat_interleave(torch.arange(len(wanted), device=rows.device), count)
        walk = Walk.of(Method.PGD, epsilon, params.steps, params.step_size, params.batch_size)

        def influence(found: Tensor, part: slice) -> Tensor:
            return -layer.influences(found, y[rows[part]], wanted[owner[part]]).sum()

        places = rows.cpu().numpy()
        moved = descended(features, torch.from_numpy(np.array(train.rows(places).x)), influence, walk, ctx)
        return [
            Poisoned(part, image.numpy(), train.y[part].astype(np.int64))
            for part, image in zip(places.reshape(len(wanted), count), moved.split([count] * len(wanted)), strict=True)
        ]


SPEC = AttackSpec(
    name="influence-poisoning",
    summary="The most influential training images, moved in frozen features so that the target gets the wanted label.",
    citation="Koh & Liang 2017, Understanding black-box predictions via influence functions, sections 2.2 and 5.2; "
    "arXiv 1703.04730",
    params=Params,
    randomised=False,
    load=InfluencePoisoning,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.TARGETED,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION, label_changes=False),
    needs=frozenset({Access.FEATURES}),
)
