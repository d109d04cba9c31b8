"""Rows without which the model would doubt their label are looked at first: self-influence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param
from sparring_defences.probe_network import learned_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparring.contracts import Aux, Context, Sanitised
    from sparring.data import ArrayDataset, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    removed: float = param(0.1, "share of the rows that is removed", at_least=0, below=1)
    epochs: int = param(2, "passes over the untrusted data that the defender's own network makes", at_least=1)
    dimensions: int = param(32, "principal components of its features that are kept", at_least=1)
    penalty: float = param(1e-3, "L2 penalty of the classifier on them", above=0)


class InfluenceFilter:
    """Koh & Liang 2017, section 5.4: the influence of a row on the loss at itself, g^T H^-1 g with its gradient g and
    the Hessian H of the training loss; rows with the largest are removed. Loss, gradient and Hessian are those of a
    softmax classifier on features of the defender's own network, where both are exact; few epochs, so that these do
    not learn wrong labels by heart."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        import numpy as np

        from sparring.contracts import Sanitised

        features = learned_features(train, self.params.epochs, ctx)
        influence = self.self_influence(features, train.y, train.classes)
        keep = np.ones(len(train), dtype=bool)
        keep[np.argsort(-influence, kind="stable")[: int(self.params.removed * len(train))]] = False
        return Sanitised(keep)

    def self_influence(self, features: NDArray[Any], y: IntArray, classes: int) -> NDArray[Any]:
        """(N,) g^T H^-1 g, by features (N, D) and labels (N,)."""
        import numpy as np

        points = _whitened(features, self.params.dimensions)
        error = _fitted(points, y, classes, self.params.penalty) - np.eye(classes)[y]
        hessian = _hessian(points, error + np.eye(classes)[y], self.params.penalty)
        influence = np.empty(len(y))
        for start in range(0, len(y), 2000):
            part = slice(start, start + 2000)
            gradient = (error[part, :, None] * points[part, None, :]).reshape(len(points[part]), -1)
            influence[part] = (gradient * np.linalg.solve(hessian, gradient.T).T).sum(axis=1)
        return influence


def _whitened(features: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """(N, at most `dimensions` + 1) principal components of unit variance, and a one."""
    import numpy as np

    centred = features.astype(np.float64) - features.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(dimensions, int((lengths > 1e-9 * lengths[0]).sum())) or 1
    points = centred @ directions[:kept].T
    return np.concatenate([points / np.maximum(points.std(axis=0), 1e-12), np.ones((len(points), 1))], axis=1)


def _fitted(points: NDArray[Any], y: IntArray, classes: int, penalty: float) -> NDArray[Any]:
    """(N, K) probabilities of the softmax classifier of least penalised loss, by L-BFGS."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    onehot = np.eye(classes)[y]

    def loss(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        weights = flat.reshape(classes, -1)
        logs = log_softmax(points @ weights.T, axis=1)
        slope = (np.exp(logs) - onehot).T @ points / len(y) + penalty * weights
        return float(-(logs * onehot).sum() / len(y) + penalty / 2 * (flat**2).sum()), slope.ravel()

    best = minimize(loss, np.zeros(classes * points.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(np.exp(log_softmax(points @ best.x.reshape(classes, -1).T, axis=1)))


def _hessian(points: NDArray[Any], p: NDArray[Any], penalty: float) -> NDArray[Any]:
    """(K D, K D), of the mean penalised loss."""
    import numpy as np

    classes, width = p.shape[1], points.shape[1]
    hessian = np.zeros((classes, width, classes, width))
    for a in range(classes):
        for b in range(classes):
            weight = p[:, a] * ((a == b) - p[:, b])
            hessian[a, :, b, :] = (points * weight[:, None]).T @ points / len(points)
    return hessian.reshape(classes * width, -1) + penalty * np.eye(classes * width)


SPEC = DefenceSpec(
    name="influence-filter",
    summary="Trains on the untrusted data and drops the rows with the largest influence on their own loss.",
    citation="Koh & Liang 2017, Understanding black-box predictions via influence functions, section 5.4; arXiv "
    "1703.04730",
    params=Params,
    load=InfluenceFilter,
    acts=frozenset({Act.SANITISE}),
)
