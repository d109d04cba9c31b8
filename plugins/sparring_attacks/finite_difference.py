"""Finite differences: the gradient, one direction after the other, along pixels, groups of pixels or components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset
    from sparring.model import MeteredModel
    from sparring_attacks.gradient_estimators import Ask

PCA_IMAGES = 5000
"""Training images of which principal components are taken at most, evenly spaced in the training set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    grouping: str = param(
        "pca",
        "directions of the differences: every value by itself (none), disjoint random groups of values (random), or "
        "principal components of the training images (pca)",
        choices=("none", "random", "pca"),
    )
    directions: int = param(
        50, "groups or components, at two queries each; without grouping there are as many as values", at_least=1
    )
    difference: float = param(
        0.1, "how far a difference moves the values of its group (of a component: its largest)", above=0, unit="pixels"
    )
    step_size: float | None = param(
        None, "length of one step (of its L2 norm in L2); null: epsilon / 4", above=0, unit="[0, 1] pixels"
    )


class FiniteDifference:
    """Steps against the sign (L2: direction) of the gradient that two-sided differences of the margin give: the
    iterative attacks of Bhagoji et al. 2018, section 3.2 (equation 3), with the query reductions of section 3.4 (random
    grouping, anew at each step, and PCA). With `step_size` epsilon and a budget for one estimate it is their
    single-step attack.

    Queried images are clipped to [0, 1], and differences divided by the way that was really gone. Training images are
    used by `pca` only; they are declared as needed with every grouping.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        from sparring_attacks.estimated_descent import Descent, descend, steepest
        from sparring_attacks.gradient_estimators import central

        stated, params = threat.over(SPEC.threat), self.params
        norm, epsilon = stated.norm or Norm.LINF, stated.epsilon or 0.0
        size = x[0].numel() if len(x) else 0
        if params.grouping == "pca":
            fixed = principal_components(aux.train, params.directions).to(x.device)
        else:
            fixed = torch.eye(size, device=x.device)
        count = len(fixed) if params.grouping != "random" else min(params.directions, size)

        def estimate(ask: Ask, x: Tensor, losses: Tensor) -> Tensor:
            flat = random_groups(size, count, ctx).to(x.device) if params.grouping == "random" else fixed
            return central(ask, x, params.difference * flat.view(1, count, *x.shape[1:]))

        descent = Descent(estimate, 2 * count, steepest(norm, params.step_size or epsilon / 4))
        return descend(descent, model, x, y, stated, aux, ctx)


def random_groups(size: int, count: int, ctx: Context) -> Tensor:
    """(count, size) indicators of disjoint random groups, as equal in size as can be, that hold all values."""
    import torch

    groups = torch.zeros(count, size)
    groups[torch.arange(size) % count, torch.randperm(size, generator=ctx.generator)] = 1
    return groups


def principal_components(train: ArrayDataset | None, count: int) -> Tensor:
    """(k, D) the first principal components of the training images, k = `count` at most, the largest value 1 each.

    Raises:
        ValueError: there are no training images.
    """
    import numpy as np
    import torch

    if train is None or len(train) == 0:
        raise ValueError("principal components need training images")
    rows = np.linspace(0, len(train) - 1, min(len(train), PCA_IMAGES)).astype(np.int64)
    images = torch.from_numpy(train.rows(rows).x.copy()).flatten(1).double()
    centred = images - images.mean(dim=0)
    _, axes = torch.linalg.eigh(centred.T @ centred)  # ascending
    first = axes.flip(1).T[:count]
    components: Tensor = first / first.abs().amax(dim=1, keepdim=True)
    return components.float()


SPEC = AttackSpec(
    name="finite-difference",
    summary="Projected steps along gradients from two-sided differences: per pixel, random group or component.",
    citation="Bhagoji, He, Li, Song 2018, Practical black-box attacks on deep neural networks using efficient query "
    "mechanisms, sections 3.2 and 3.4; arXiv 1712.09491",
    params=Params,
    load=FiniteDifference,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1, query_budget=2000),
    needs=frozenset({Access.SCORES, Access.TRAINING_DATA}),
)
