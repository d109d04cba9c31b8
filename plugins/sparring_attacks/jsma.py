"""The Jacobian-based saliency map attack: two values at a time, those that help most, until the target is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Budget, Goal, Norm, ThreatModel, When
from sparring_attacks.aim import Aim
from sparring_attacks.distortion_limits import kept_within
from sparring_attacks.heartbeat import Heartbeat

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

STEP_COST = 4
"""Evaluations per image and step: one that tells whether it is over, one for the Jacobian, and two gradients of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    theta: float = param(1.0, "by which a value is changed; negative: lowered", at_least=-1, at_most=1)
    share: float = param(0.145, "of an image's values that may be changed", above=0, at_most=1)
    batch_size: int = param(512, "images attacked at a time", at_least=1)

    def __post_init__(self) -> None:
        if self.theta == 0:
            raise ValueError("theta = 0 would change nothing")


class SaliencyMap:
    """Changes, step by step, the pair of values p, q with the largest product of what it adds to the target's logit
    and what it takes from all others, where both have the right sign (Papernot et al. 2016, algorithm 3 and equation
    8). A value is changed once. Ends where the target is reached, no pair is left, or `share` of the values were
    changed. Without a target, the target is the second most likely class, and any wrong answer ends it.

    The same steps as torchattacks' JSMA, which goes image by image, takes one gradient per class where the sum over
    classes will do, supposes ten classes, and changes the first value where no pair is left (jsma.py, `forward`,
    `compute_jacobian` and `saliency_map`); proved against it in the tests. `STEP_COST` evaluations per step.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        aim, steps = Aim.of(threat, y, aux), self._steps(x[:1].numel(), threat)
        if steps < 1:
            return x.clone()
        made = []
        for start in range(0, len(x), self.params.batch_size):
            part = slice(start, start + self.params.batch_size)
            made.append(self._walked(model, x[part], aim.rows(part), steps, ctx))
            ctx.progress(min(part.stop, len(x)), len(x), "images attacked")
        return kept_within(torch.cat(made), x, threat)

    def _steps(self, values: int, threat: ThreatModel) -> int:
        """Pairs that may be changed."""
        import math

        pairs = math.ceil(values * self.params.share / 2)
        if threat.epsilon is not None:
            pairs = min(pairs, int(threat.epsilon) // 2)
        return pairs if threat.query_budget is None else min(pairs, (threat.query_budget - 1) // STEP_COST)

    def _walked(self, model: MeteredModel, x: Tensor, aim: Aim, steps: int, ctx: Context) -> Tensor:
        import torch

        heart, x_adv = Heartbeat(ctx), x.clone()
        changeable = (x < 0.99 if self.params.theta > 0 else x > 0.01).flatten(1)
        standing, goals = torch.arange(len(x), device=x.device), aim.labels
        for step in range(steps):
            with torch.no_grad():
                logits = model.logits(x_adv[standing])
            if step == 0 and not aim.targeted:
                others = torch.nn.functional.one_hot(aim.labels, model.classes).bool()
                goals = logits.masked_fill(others, float("-inf")).argmax(dim=1)
            still = aim.rows(standing).score(logits).isfinite()
            standing = standing[still]
            if len(standing) == 0:
                break
            towards, away = slopes(model, x_adv[standing], goals[standing])
            moved = torch.ones(len(standing), dtype=torch.bool, device=x.device)
            for number, row in enumerate(standing.tolist()):
                heart.beat(step, steps, "pairs of values")
                sign = 1 if self.params.theta > 0 else -1
                pair = best_pair(sign * towards[number], sign * away[number], changeable[row])
                if pair is None:
                    moved[number] = False
                    continue
                values = x_adv[row].view(-1)
                values[pair] = (values[pair] + self.params.theta).clamp(0, 1)
                changeable[row, pair] = False
            standing = standing[moved]
        return x_adv


def slopes(model: MeteredModel, x: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
    """(N, F), (N, F): how the logit of the goal, and the sum of all others, grow with each value."""
    import torch

    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        logits = model.logits(leaf)
        (towards,) = torch.autograd.grad(logits.gather(1, goals[:, None]).sum(), leaf, retain_graph=True)
        (all_of_them,) = torch.autograd.grad(logits.sum(), leaf)
    return towards.flatten(1), (all_of_them - towards).flatten(1)


def best_pair(towards: Tensor, away: Tensor, changeable: Tensor) -> Tensor | None:
    """(2,) the two of the changeable values with the largest saliency; `None` where no pair has any."""
    import torch

    free = changeable.nonzero().flatten()
    if len(free) < 2:
        return None
    gain, loss = towards[free], away[free]
    gains, losses = gain[:, None] + gain, loss[:, None] + loss
    saliency = (gains * -losses).masked_fill_((gains <= 0) | (losses >= 0), 0).fill_diagonal_(0)
    place = int(saliency.argmax())
    if saliency.view(-1)[place] == 0:
        return None
    return free[torch.tensor([place // len(free), place % len(free)], device=free.device)]


SPEC = AttackSpec(
    name="jsma",
    summary="The pair of values that helps the target most, step by step: the Jacobian-based saliency map attack.",
    citation="Papernot et al. 2016, The limitations of deep learning in adversarial settings, algorithm 3; "
    "arXiv 1511.07528",
    params=Params,
    load=SaliencyMap,
    randomised=False,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L0,),
    reads=frozenset({"goal", "budget", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L0, budget=Budget.MINIMAL),
    needs=frozenset({Access.GRADIENTS}),
)
