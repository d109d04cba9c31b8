"""Difference of means: towards the mean image of another class; the model is asked nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks.attacker_data import attacker_data
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset
    from sparring.model import MeteredModel


class DifferenceOfMeans:
    """x + ε sign(μ_t − μ_y) in L-infinity, x + ε (μ_t − μ_y) / ‖μ_t − μ_y‖ in L2, where μ are means of the classes in
    the attacker's images (Bhagoji et al. 2018, section 2.3). Untargeted, t is the class whose mean is nearest to μ_y.

    A class without an image in the attacker's data has their overall mean, and is no class to move to untargeted.
    """

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, epsilon = threat.norm or Norm.LINF, threat.epsilon or 0.0
        if epsilon <= ROUNDING:
            return x.clone()
        means, known = class_means(attacker_data(aux), x)
        if threat.goal is Goal.TARGETED and aux.goal_labels is not None:
            wanted = aux.goal_labels.to(y.device)
        else:
            wanted = nearest_class(means, known)[y]
        apart = means[wanted] - means[y]
        if norm is Norm.LINF:
            return project(x + epsilon * apart.sign(), x, norm, epsilon)
        length = apart.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        return project(x + epsilon * apart / length, x, norm, epsilon)


def class_means(data: ArrayDataset, like: Tensor) -> tuple[Tensor, Tensor]:
    """(K, C, H, W) mean images on the device of `like`, and (K,) bool: which classes have any image."""
    import torch

    x, y = torch.tensor(data.x), torch.tensor(data.y)
    known = torch.bincount(y, minlength=data.classes) > 0
    means = [x[y == label].mean(dim=0) if known[label] else x.mean(dim=0) for label in range(data.classes)]
    return torch.stack(means).to(like.device), known.to(like.device)


def nearest_class(means: Tensor, known: Tensor) -> Tensor:
    """(K,) the other class, among the known ones, whose mean is nearest in L2."""
    import torch

    flat = means.flatten(1)
    apart = torch.cdist(flat, flat).masked_fill(~known, float("inf"))
    return apart.fill_diagonal_(float("inf")).argmin(dim=1)


SPEC = AttackSpec(
    name="difference-of-means",
    summary="A step from the mean image of the true class towards that of another one; no queries.",
    citation="Bhagoji, He, Li & Song 2018, Practical black-box attacks on deep neural networks using efficient query "
    "mechanisms, section 2.3; arXiv 1712.09491",
    load=DifferenceOfMeans,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.TRAINING_DATA}),
)
