"""Poisoning of support vector machines: wrongly labelled images moved up the gradient of the validation loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, FloatArray, IntArray, Poisoned, Targets
    from sparring_attacks.svm_gradient import Machine

DEFAULT_FRACTION = 0.05


class Kernel(StrEnum):
    LINEAR = "linear"
    RBF = "rbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    source: int = param(0, "class of the images that are moved", at_least=0)
    target: int = param(1, "class that is attacked: the label they get", at_least=0)
    kernel: Kernel = param(Kernel.LINEAR, "of the attacker's machine")
    c: float = param(1.0, "weight of its hinge loss", above=0)
    gamma: float | None = param(
        None, "of exp(-gamma |x - x'|^2); null: 1 / (values per image x variance of the pixels)", above=0
    )
    pool: int = param(
        200, "clean rows of the two classes that a machine is fitted on, and as many it is judged on", at_least=2
    )
    steps: int = param(40, "gradient steps, a fit of the machine each", at_least=1)
    step_size: float = param(0.05, "largest change of a pixel in one step", above=0, at_most=1)

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError("svm-poisoning: source and target are the same class")


class SvmPoisoning:
    """max over z in [0, 1] of the validation hinge loss of a machine fitted to clean rows and to (z, target): ascent
    along the gradient that is exact while the sets of support vectors stay (Biggio et al. 2012, sections 3.1 to 3.3,
    equations 5 to 10, algorithm 1), from images of the source class.

    The paper attacks two classes; of more, the machine sees the named two. Points are moved together instead of one
    after the other, in groups that are to their machine's pool what the poison is to the rows of both classes. ART's
    version wants scikit-learn's deprecated `SVC(probability=True)`.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when source or target is no class."""
        import numpy as np

        from sparring.data import Poisoned

        source, target = self.params.source, self.params.target
        if max(source, target) >= train.classes:
            raise ValueError(f"svm-poisoning: labels {source} and {target}; the classes are 0 to {train.classes - 1}")
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        rows = draw_rows(np.flatnonzero(train.y == source), len(train), fraction, ctx.rng)
        clean = np.setdiff1d(np.flatnonzero(np.isin(train.y, (source, target))), rows)
        moved = train.rows(rows).x.copy()
        pool = min(self.params.pool, len(clean) // 2)
        groups = np.array_split(ctx.rng.permutation(len(rows)), max(1, round(len(clean) / max(1, pool))))
        for number, group in enumerate(groups):
            drawn = train.rows(ctx.rng.permutation(clean)[: 2 * pool])
            fitted, judged = drawn.rows(np.arange(pool)), drawn.rows(np.arange(pool, 2 * pool))
            if len(group) and min(len(np.unique(part.y)) for part in (fitted, judged)) == 2:
                moved[group] = self._ascended(moved[group], fitted, judged, ctx)
            ctx.progress(number + 1, len(groups), "groups of points")
        return [Poisoned(rows, moved, np.full(len(rows), target, dtype=np.int64))]

    def _ascended(self, points: FloatArray, fitted: ArrayDataset, judged: ArrayDataset, ctx: Context) -> FloatArray:
        """The points (P, C, H, W) at the highest validation loss on their way."""
        import numpy as np

        from sparring_attacks.svm_gradient import Machine

        params = self.params
        x, u = fitted.x.reshape(len(fitted), -1).astype(np.float64), points.reshape(len(points), -1).astype(np.float64)
        v = judged.x.reshape(len(judged), -1).astype(np.float64)
        y, z = self._signs(fitted.y), self._signs(judged.y)
        spread = x.var() * x.shape[1]
        gamma = None if params.kernel is Kernel.LINEAR else params.gamma or 1 / max(spread, 1e-12)
        best, most = u, -np.inf
        for step in range(params.steps + 1):
            machine: Machine = Machine.fitted(x, y, u, params.c, gamma)
            loss = machine.hinge(v, z)
            if loss > most:
                best, most = u, loss
            slope = machine.ascent(v, z)
            length = np.abs(slope).max(axis=1, keepdims=True)
            u = (u + params.step_size * slope / np.maximum(length, 1e-30)).clip(0, 1)
            ctx.progress(step, params.steps, "gradient steps of a group")
        return best.reshape(points.shape).astype(np.float32)

    def _signs(self, y: IntArray) -> IntArray:
        """The attacked class is the positive one."""
        import numpy as np

        return np.where(y == self.params.target, 1, -1)


SPEC = AttackSpec(
    name="svm-poisoning",
    summary="Wrongly labelled images, moved so that a support vector machine fitted to them errs the most.",
    citation="Biggio, Nelson & Laskov 2012, Poisoning attacks against support vector machines, section 3; "
    "arXiv 1206.6389",
    params=Params,
    load=SvmPoisoning,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction", "label_changes"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
