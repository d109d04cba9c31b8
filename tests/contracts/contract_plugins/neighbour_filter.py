"""A filter of wrong labels: a row stays if its nearest neighbours agree with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context, Sanitised
    from sparring.data import ArrayDataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    neighbours: int = param(7, "nearest rows that vote, the row itself not among them", at_least=1)


class NeighbourFilter:
    """Edited nearest neighbours in pixel space."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        import numpy as np
        from sklearn.neighbors import NearestNeighbors

        from sparring.contracts import Sanitised

        flat = train.x.reshape(len(train), -1)
        nearest = NearestNeighbors(n_neighbors=self.params.neighbours).fit(flat).kneighbors(return_distance=False)
        votes = np.stack([(train.y[nearest] == label).sum(axis=1) for label in range(train.classes)])
        return Sanitised(keep=votes.argmax(axis=0) == train.y)


SPEC = DefenceSpec(
    name="neighbour-filter",
    summary="Removes rows whose nearest neighbours have another label.",
    citation="Wilson 1972, Asymptotic properties of nearest neighbor rules using edited data",
    params=Params,
    load=NeighbourFilter,
    acts=frozenset({Act.SANITISE}),
)
