"""Gradient matching (Witches' Brew): training images that teach a network the target's wanted label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.cell import Selection
from sparring.plugin import Act, AttackSpec, Kind, param, reference
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring_attacks.balls import ROUNDING
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Poisoned, Targets

DEFAULT_EPSILON = 0.2
DEFAULT_FRACTION = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    surrogate: Selection = reference(Kind.VICTIM, "mlp", "the clean network whose gradients are matched")
    steps: int = param(100, "gradient steps; the paper takes 250", at_least=1)
    restarts: int = param(1, "random starts, of which the best is kept; the paper takes 8", at_least=1)
    batch_size: int = param(512, "images whose gradients are summed", at_least=1)


class GradientMatching:
    """min 1 - cos(∇ L(target, wanted label), Σ ∇ L(x_i, y_i)) over |x_i - base_i| <= ε, gradients in the weights of a
    surrogate, for bases of the wanted class, labels unchanged (Geiping et al. 2021, section 3, equation 3 and algorithm
    1). No augmentation inside, and one surrogate, where the paper takes up to eight. Bases are drawn at random.

    ART's version takes 3.1 times as long as the plain loop.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when the harness hands over no targets, `NotOffered` when the surrogate is no network."""
        import numpy as np
        import torch

        from sparring.data import Poisoned
        from sparring_attacks.matched_gradients import Descent, differentiable, matched, weight_gradient

        if targets is None:
            raise ValueError("gradient-matching needs targets")
        params, network = self.params, differentiable(aux.surrogates["surrogate"])
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        descent = Descent(epsilon, params.steps, params.restarts, params.batch_size)
        made = []
        for number, goal in enumerate(targets.goal):
            rows = draw_rows(np.flatnonzero(train.y == goal), len(train), fraction, ctx.rng)
            bases = train.rows(rows)
            x, y = (torch.from_numpy(np.array(array)).to(ctx.device) for array in (bases.x, bases.y))
            if len(rows) and epsilon > ROUNDING:
                image = torch.from_numpy(np.array(targets.x[number : number + 1])).to(ctx.device)
                wanted = weight_gradient(network, image, torch.tensor([int(goal)], device=ctx.device))
                x = matched(network, x, y, wanted, descent, ctx)
            made.append(Poisoned(rows, x.cpu().numpy(), bases.y.astype(np.int64)))
            ctx.progress(number + 1, len(targets), "targets")
        return made


SPEC = AttackSpec(
    name="gradient-matching",
    summary="Training images of the wanted class, moved so that their gradients are the target's: Witches' Brew.",
    citation="Geiping, Fowl, Huang, Czaja, Taylor, Moeller & Goldstein 2021, Witches' Brew: industrial scale data "
    "poisoning via gradient matching, section 3; arXiv 2009.02276",
    params=Params,
    load=GradientMatching,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.TARGETED,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION, label_changes=False),
    surrogates=("surrogate",),
)
