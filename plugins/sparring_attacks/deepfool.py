"""DeepFool: the nearest decision boundary of the linearised model, step by step; smallest distortion in L2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks.allowance import Allowance
from sparring_attacks.balls import ROUNDING
from sparring_attacks.minimal import limit, within_limit

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(50, "linearisations of one image at most", at_least=1)
    overshoot: float = param(0.02, "η: how much longer than to the boundary the perturbation is made", at_least=0)
    candidates: int = param(
        10, "classes whose boundaries are looked at: the most likely ones, the true one among them", at_least=2
    )
    batch_size: int = param(512, "images attacked at a time", at_least=1)


class DeepFool:
    """Moosavi-Dezfooli et al. 2016, algorithm 2, on all images and with a step for all classes at once.

    At each point the model is replaced by its linearisation, and the image moves to that one's nearest boundary. An
    image leaves the batch as soon as the model is wrong about it. A step of one image costs 2 forward and
    `candidates` − 1 gradient evaluations (the classes that are looked at may be fewer than there are); a last forward
    evaluation finds that it has fallen. With a query budget, it stops when the next step of all that stand is not paid
    for.

    The paper has no bounds on pixels; clipped afterwards, hardly any of its examples is one. Here the change is clipped
    at every step, so that each linearisation is made at a point in [0, 1], and the overshoot is tried at every step, as
    in the authors' code. Images that stand when the steps or the queries are spent, or, where epsilon is bounded, need
    more than it, are returned unchanged.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        epsilon = limit(threat)
        if epsilon is not None and epsilon <= ROUNDING:
            return x.clone()
        allowance = Allowance.of(threat.query_budget, len(x))
        found = [
            fooled(model, part, labels, self.params, allowance, ctx)
            for part, labels in zip(x.split(self.params.batch_size), y.split(self.params.batch_size), strict=True)
        ]
        return within_limit(torch.cat(found) if found else x.clone(), x, epsilon)


def fooled(
    model: MeteredModel, x: Tensor, labels: Tensor, params: Params, allowance: Allowance, ctx: Context
) -> Tensor:
    """The images (N, C, H, W), moved until the model's answers are not `labels` (N,); unchanged where they stay so
    until the steps or the queries are spent."""
    import torch

    found, standing, rivals = (
        x.clone(),
        torch.arange(len(x), device=x.device),
        min(params.candidates, model.classes) - 1,
    )
    point, change = x, torch.zeros_like(x)
    for step in range(params.steps + 1):
        ctx.progress(step, params.steps, "linearisations")
        if not allowance.spend(len(standing)):
            break
        with torch.no_grad():
            logits = model.logits(point)
        wrong = logits.argmax(dim=1) != labels[standing]
        found[standing[wrong]] = point[wrong]
        standing, point, change = standing[~wrong], point[~wrong], change[~wrong]
        if len(standing) == 0 or not allowance.spend((1 + rivals) * len(standing)):
            break
        behind, towards = linearised(model, point, labels[standing], logits[~wrong], rivals)
        change = change + shortest_step(behind, towards)
        change = (x[standing] + change).clamp(0, 1) - x[standing]
        point = (x[standing] + (1 + params.overshoot) * change).clamp(0, 1)
    return found


def linearised(model: MeteredModel, x: Tensor, labels: Tensor, logits: Tensor, rivals: int) -> tuple[Tensor, Tensor]:
    """Of the `rivals` most likely wrong classes: by how much (N, R) they lie behind the true one, and the gradient
    (N, R, C, H, W) along which they catch up. One forward and R gradient evaluations per image."""
    import torch

    ranked = logits.scatter(1, labels[:, None], float("-inf")).topk(rivals, dim=1).indices
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        answers = model.logits(leaf)
        behind = answers.gather(1, labels[:, None]) - answers.gather(1, ranked)
        towards = [
            torch.autograd.grad(-behind[:, rival].sum(), leaf, retain_graph=rival + 1 < rivals)[0]
            for rival in range(rivals)
        ]
    return behind.detach(), torch.stack(towards, dim=1)


def shortest_step(behind: Tensor, towards: Tensor) -> Tensor:
    """The step (N, C, H, W) to the nearest of the linearised boundaries (equations 8 and 9)."""
    lengths = towards.flatten(2).norm(dim=2).clamp(min=1e-20)
    away = behind.clamp(min=0) / lengths
    nearest = away.argmin(dim=1, keepdim=True)
    # the authors add 1e-4, so that a step is taken where two classes are level
    scale = (away.gather(1, nearest) + 1e-4) / lengths.gather(1, nearest)
    step: Tensor = scale.view(-1, 1, 1, 1) * towards[range(len(towards)), nearest.squeeze(1)]
    return step


SPEC = AttackSpec(
    name="deepfool",
    summary="Steps to the nearest boundary of the linearised model: the smallest distortion in L2.",
    citation="Moosavi-Dezfooli, Fawzi & Frossard 2016, DeepFool, algorithm 2; arXiv 1511.04599",
    params=Params,
    load=DeepFool,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.L2,),
    reads=frozenset({"norm", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(norm=Norm.L2, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS}),
)
