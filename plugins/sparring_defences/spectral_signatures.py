"""Spectral signatures: poisoned rows stand out along the first singular direction of their class's features."""

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
    epochs: int = param(10, "passes over the untrusted data that the defender's own network makes", at_least=1)
    expected: float = param(
        0.1, "largest share of a class that is thought poisoned; 1.5 times as many are removed", above=0, below=0.5
    )


class SpectralSignatures:
    """Tran et al. 2018, algorithm 1: train on the untrusted data; in each class, centre the features of the last hidden
    layer, and remove the rows whose squared projection on the first right singular vector is largest.

    Every class loses 1.5 * `expected` of its rows, poisoned or not, as in the paper. ART's `SpectralSignatureDefense`
    (1.20.1) finds the same vector, but projects features on it that are not centred.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        from sparring.contracts import Sanitised

        return Sanitised(keep=~self.suspicious(learned_features(train, self.params.epochs, ctx), train.y))

    def suspicious(self, features: NDArray[Any], y: IntArray) -> NDArray[Any]:
        """(N,) bool, the rows that are removed, by their features (N, D) and labels (N,)."""
        import numpy as np

        flagged = np.zeros(len(y), dtype=bool)
        for label in np.unique(y):
            rows = np.flatnonzero(y == label)
            count = round(1.5 * self.params.expected * len(rows))
            worst = np.argsort(-outlier_scores(features[rows]), kind="stable")[:count]
            flagged[rows[worst]] = True
        return flagged


def outlier_scores(features: NDArray[Any]) -> NDArray[Any]:
    """(M,) squared projections of centred (M, D) features on their first right singular vector."""
    import numpy as np

    centred = features.astype(np.float64) - features.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return np.asarray((centred @ directions[0]) ** 2)


SPEC = DefenceSpec(
    name="spectral-signatures",
    summary="Trains on the untrusted data and drops what stands out most in the spectrum of each class's features.",
    citation="Tran, Li, Madry 2018, Spectral signatures in backdoor attacks, algorithm 1; arXiv 1811.00636",
    params=Params,
    load=SpectralSignatures,
    acts=frozenset({Act.SANITISE}),
)
