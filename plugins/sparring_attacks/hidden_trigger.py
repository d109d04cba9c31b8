"""The hidden trigger: training images of the target class whose features are those of patched images of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import triggers
from sparring_attacks.feature_walk import Method, Walk, descended, features_of
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_EPSILON = 16 / 255
DEFAULT_FRACTION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    target: int = param(0, "label that triggered images shall get; only its images are poisoned", at_least=0)
    size: int = param(3, "side of the square patch", at_least=1, unit="pixels")
    margin: int = param(1, "pixels between the patch and the lower right corner", at_least=0, unit="pixels")
    brightness: float = param(1.0, "value of the patch in every channel", at_least=0, at_most=1)
    steps: int = param(100, "gradient steps", at_least=1)
    step_size: float | None = param(None, "null: 2.5 epsilon / steps", above=0, unit="[0, 1] pixels")
    batch_size: int = param(100, "images moved, and matched with patched ones, at a time", at_least=1)


class HiddenTrigger:
    """min Σ |f(z) - f(patched)|² over |z - x| <= ε, where images z of the target class and patched images of the other
    classes are matched one to one, anew in each step (Saha et al. 2020, section 3, equation 1 and algorithm 1). The
    patch is seen at test time only.

    Steps follow the sign of the gradient instead of the gradient, and the matching is the best one instead of a greedy
    one (as ART's, hidden_trigger_backdoor_pytorch.py, which scans all pairs once an image). The fraction is of the
    whole training set: all of the class, where it is larger.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there are no features, the target is no class, or the patch does not fit."""
        import numpy as np
        import torch

        from sparring.data import Poisoned

        params = self.params
        if aux.features is None:
            raise ValueError("hidden-trigger needs the features of the victim")
        if params.target >= train.classes:
            raise ValueError(f"hidden-trigger aims at label {params.target}; the classes are 0 to {train.classes - 1}")
        state = triggers.patch(params.size, params.margin, params.brightness, *train.image_shape[1:])
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.flatnonzero(train.y == params.target), len(train), fraction, ctx.rng)
        images, others = train.rows(rows), np.flatnonzero(train.y != params.target)
        if not len(rows) or not len(others):
            return [Poisoned(rows, images.x, images.y.astype(np.int64), state)]
        sources = train.rows(ctx.rng.choice(others, len(rows), replace=len(rows) > len(others)))
        patched = torch.from_numpy(triggers.patched(sources.x, state))
        wanted = features_of(aux.features, patched, params.batch_size, ctx)
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        walk = Walk.of(Method.PGD, epsilon, params.steps, params.step_size, params.batch_size)

        def apart(found: Tensor, part: slice) -> Tensor:
            return _matched_distance(found, wanted[part])

        moved = descended(aux.features, torch.from_numpy(np.array(images.x)), apart, walk, ctx)
        return [Poisoned(rows, moved.numpy(), images.y.astype(np.int64), state)]

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        return triggers.patched(x, state)

    def target_of(self, y: IntArray) -> IntArray:
        import numpy as np

        return np.full_like(y, self.params.target)


def _matched_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Σ |found_i - wanted_π(i)|² for the permutation π that makes it least; both (B, D)."""
    import torch
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        _, partner = linear_sum_assignment(torch.cdist(found, wanted).square().cpu().numpy())
    return (found - wanted[torch.from_numpy(partner).to(wanted.device)]).square().sum()


SPEC = AttackSpec(
    name="hidden-trigger",
    summary="Images of the target class moved so that their frozen features meet those of patched images of others.",
    citation="Saha, Subramanya & Pirsiavash 2020, Hidden trigger backdoor attacks, section 3; arXiv 1910.00033",
    params=Params,
    load=HiddenTrigger,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.TRIGGER}),
    goals=(Goal.BACKDOOR,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION, label_changes=False),
    needs=frozenset({Access.FEATURES}),
)
