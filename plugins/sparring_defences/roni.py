"""Reject on negative impact: rows with which a small model does worse than without are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparring.contracts import Aux, Context, Sanitised
    from sparring.data import ArrayDataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    trials: int = param(5, "random pairs of a base set and a calibration set", at_least=1)
    base: int = param(20, "rows that the small model is trained on", at_least=2)
    calibration: int = param(400, "rows that its answers are counted on", at_least=1)
    harm: float = param(
        0.005, "mean loss of accuracy on the calibration set from which a row is removed", at_least=0, at_most=1
    )
    ridge: float = param(1.0, "penalty of the small model", above=0)


class Roni:
    """Nelson et al. 2008, section 5.1: a row is added to a small base set; if the right answers on a calibration set
    become fewer, on average over several draws of both, it is removed. Both are drawn from the defender's clean rows,
    or from the untrusted ones where the suite cuts none.

    The small model is a ridge classifier on the pixels, of which a row more is an exact rank-one change (Sherman &
    Morrison), so that all rows are tried at once: nothing is trained N times, as in ART's `RONI`.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        from sparring.contracts import Sanitised

        harm = self.harms(train, aux.defender_clean or train, ctx)
        keep = harm < self.params.harm
        if not keep.any():
            keep[harm.argmin()] = True
        return Sanitised(keep)

    def harms(self, train: ArrayDataset, trusted: ArrayDataset, ctx: Context) -> NDArray[Any]:
        """(N,) accuracy on the calibration set that each row costs, mean over trials."""
        import numpy as np

        total, p = np.zeros(len(train)), self.params
        for trial in range(p.trials):
            order = ctx.rng.permutation(len(trusted))
            base = trusted.rows(order[: min(p.base, len(order) // 2)])
            rest = trusted.rows(order[len(base) : len(base) + p.calibration])
            total += _costs(train, base, rest, p.ridge)
            ctx.progress(trial + 1, p.trials, "trials")
        return total / p.trials


def _costs(train: ArrayDataset, base: ArrayDataset, rest: ArrayDataset, ridge: float) -> NDArray[Any]:
    """(N,) loss of accuracy on `rest` when one row of `train` joins `base`."""
    import numpy as np

    a, onehot = _design(base), np.eye(base.classes)
    inverse = np.linalg.inv(a.T @ a + ridge * np.eye(a.shape[1]))
    weights = inverse @ a.T @ onehot[base.y]
    test = _design(rest)
    answers = test @ weights
    before = (answers.argmax(axis=1) == rest.y).mean()
    costs = np.zeros(len(train))
    for start in range(0, len(train), 256):
        rows = train.rows(np.arange(start, min(start + 256, len(train))))
        x = _design(rows)
        moved = x @ inverse  # (n, D)
        error = (onehot[rows.y] - x @ weights) / (1 + (moved * x).sum(axis=1))[:, None]
        after = answers + (moved @ test.T)[:, :, None] * error[:, None, :]  # (n, calibration, K)
        costs[start : start + len(rows)] = before - (after.argmax(axis=2) == rest.y).mean(axis=1)
    return costs


def _design(data: ArrayDataset) -> NDArray[Any]:
    """(N, D + 1) float64 pixels and a one."""
    import numpy as np

    flat = data.x.reshape(len(data), -1).astype(np.float64)
    return np.concatenate([flat, np.ones((len(data), 1))], axis=1)


SPEC = DefenceSpec(
    name="roni",
    summary="Drops rows with which a small model answers worse than without them.",
    citation="Nelson et al. 2008, Exploiting machine learning to subvert your spam filter, section 5.1, LEET",
    params=Params,
    load=Roni,
    acts=frozenset({Act.SANITISE}),
)
