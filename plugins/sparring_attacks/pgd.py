"""Projected gradient descent, in L-infinity and L2, from random starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import art_adapter, torchattacks_adapter
from sparring_attacks.aim import Aim
from sparring_attacks.balls import ROUNDING, project

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(40, "gradient steps of one run", at_least=1)
    step_size: float | None = param(
        None, "length of one step; null: 2.5 epsilon / steps", above=0, unit="[0, 1] pixels"
    )
    random_start: bool = param(True, "begin at a random point of the ball")
    restarts: int = param(1, "runs from different random starts; the best example of each image is kept", at_least=1)
    backend: str = param("torchattacks", "library that makes the steps", choices=("torchattacks", "art"))
    batch_size: int = param(512, "images attacked at a time", at_least=1)

    def __post_init__(self) -> None:
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"restarts = {self.restarts} without random_start would repeat one run")


@dataclass(frozen=True)
class Walk:
    """One run as a backend makes it."""

    norm: Norm
    epsilon: float
    steps: int
    step_size: float
    random_start: bool


class ProjectedGradientDescent:
    """Steps along the gradient's sign (L-infinity) or direction (L2), each projected onto the ball and clipped
    (Madry et al. 2018, section 2.1). The default step size, 2.5 ε / steps, is that of their evaluation over ε.

    k steps cost k forward and k gradient evaluations per image. With restarts, each run costs one more forward
    evaluation, which tells the images that still stand, and only those are attacked again. A query budget first lowers
    the number of runs, then the number of steps.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        norm, epsilon = threat.norm or Norm.LINF, threat.epsilon or 0.0
        runs, steps = affordable(self.params.restarts, self.params.steps, threat.query_budget)
        if epsilon <= ROUNDING or steps == 0:
            return x.clone()
        step_size = self.params.step_size or 2.5 * epsilon / steps
        walk = Walk(norm, epsilon, steps, step_size, self.params.random_start)
        return self._best_of(runs, walk, model, x, Aim.of(threat, y, aux), ctx)

    def _best_of(self, runs: int, walk: Walk, model: MeteredModel, x: Tensor, aim: Aim, ctx: Context) -> Tensor:
        """The best examples of several runs: those that reach the aim, else those of the largest loss."""
        best = self._one_run(walk, model, x, aim, ctx)
        if runs == 1:
            return best
        score = self._score(model, best, aim)
        for _ in range(runs - 1):
            rows = score.isfinite().nonzero().flatten()
            if len(rows) == 0:
                break
            found = self._one_run(walk, model, x[rows], aim.rows(rows), ctx)
            found_score = self._score(model, found, aim.rows(rows))
            better = found_score > score[rows]
            best[rows[better]] = found[better]
            score[rows[better]] = found_score[better]
        return best

    def _one_run(self, walk: Walk, model: MeteredModel, x: Tensor, aim: Aim, ctx: Context) -> Tensor:
        run = _run_of_art if self.params.backend == "art" else _run_of_torchattacks
        return project(run(walk, model, x, aim, ctx, self.params.batch_size), x, walk.norm, walk.epsilon)

    def _score(self, model: MeteredModel, x: Tensor, aim: Aim) -> Tensor:
        import torch

        with torch.no_grad():
            return aim.score(torch.cat([model.logits(part) for part in x.split(self.params.batch_size)]))


def affordable(restarts: int, steps: int, query_budget: int | None) -> tuple[int, int]:
    """(runs, steps) that `query_budget` evaluations per image pay for; (1, 0) where it does not pay for one step."""
    if query_budget is None or query_budget >= restarts * (2 * steps + (restarts > 1)):
        return restarts, steps
    runs = min(restarts, query_budget // (2 * steps + 1))
    return (runs, steps) if runs > 1 else (1, min(steps, query_budget // 2))


def _run_of_torchattacks(walk: Walk, model: MeteredModel, x: Tensor, aim: Aim, ctx: Context, batch_size: int) -> Tensor:
    import torchattacks

    def build(module: nn.Module, seed: int) -> Any:
        steps = {"alpha": walk.step_size, "steps": walk.steps, "random_start": walk.random_start}
        if walk.norm is Norm.LINF:
            return torchattacks.PGD(module, eps=walk.epsilon, **steps)
        # its 1e-10 shortens the steps of confident models: the mean over the batch makes gradients that small
        return torchattacks.PGDL2(module, eps=walk.epsilon, **steps, eps_for_division=1e-20)

    return torchattacks_adapter.run(build, model, x, aim, ctx, batch_size)


def _run_of_art(walk: Walk, model: MeteredModel, x: Tensor, aim: Aim, ctx: Context, batch_size: int) -> Tensor:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    def build(estimator: Any, size: int) -> Any:
        return ProjectedGradientDescentPyTorch(
            estimator,
            norm=float("inf") if walk.norm is Norm.LINF else 2,
            eps=walk.epsilon,
            eps_step=walk.step_size,
            max_iter=walk.steps,
            targeted=aim.targeted,
            num_random_init=int(walk.random_start),
            batch_size=size,
            verbose=False,
        )

    return art_adapter.run(build, art_adapter.gradients_only(model, x), x, aim, ctx, batch_size)


SPEC = AttackSpec(
    name="pgd",
    summary="Gradient steps, each projected onto the ball, from random starts.",
    citation="Madry et al. 2018, Towards deep learning models resistant to adversarial attacks, section 2.1; "
    "arXiv 1706.06083",
    params=Params,
    load=ProjectedGradientDescent,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF, Norm.L2),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1),
    needs=frozenset({Access.GRADIENTS}),
)
