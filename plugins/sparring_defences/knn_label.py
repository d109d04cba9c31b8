"""Label sanitisation: a row whose neighbours agree on another label gets that label, or goes."""

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
    neighbours: int = param(10, "nearest other rows that are asked (k)", at_least=1)
    agreement: float = param(0.6, "share of them that must agree (eta)", above=0, at_most=1)
    action: str = param("relabel", "what happens to a row with another label", choices=("relabel", "remove"))
    space: str = param(
        "pixels",
        "where neighbours are near: pixels, or features of the defender's own network",
        choices=("pixels", "features"),
    )
    epochs: int = param(5, "passes that this network makes over the untrusted data", at_least=1)


class KnnLabel:
    """Paudice et al. 2018, algorithm 1: the most frequent label among the k nearest neighbours replaces a row's own,
    if its share is at least eta. With `action=remove` in `features`: deep k-NN (Peri et al. 2020, section 3.2), where
    eta is any plurality."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        import numpy as np

        from sparring.contracts import Sanitised

        in_pixels = self.params.space == "pixels"
        points = train.x.reshape(len(train), -1) if in_pixels else learned_features(train, self.params.epochs, ctx)
        votes = neighbour_votes(points, train.y, train.classes, self.params.neighbours, ctx)
        mode, share = votes.argmax(axis=1), votes.max(axis=1) / np.maximum(votes.sum(axis=1), 1)
        overruled = (share >= self.params.agreement) & (mode != train.y)
        if self.params.action == "remove":
            return Sanitised(keep=~overruled)
        return Sanitised(keep=np.ones(len(train), dtype=bool), y=np.where(overruled, mode, train.y))


def neighbour_votes(points: NDArray[Any], y: IntArray, classes: int, count: int, ctx: Context) -> IntArray:
    """(N, K) labels of the `count` nearest other rows of each of (N, D) `points`, by Euclidean distance."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    where, labels = torch.tensor(points, device=ctx.device), torch.tensor(y, device=ctx.device)
    count = min(count, len(y) - 1)
    parts = []
    for start in range(0, len(y), 1000):
        part = where[start : start + 1000]
        distance = torch.cdist(part, where)
        distance[torch.arange(len(part)), start + torch.arange(len(part))] = torch.inf
        nearest = distance.topk(count, dim=1, largest=False).indices
        parts.append(F.one_hot(labels[nearest], classes).sum(dim=1))
        ctx.progress(start + len(part), len(y), "neighbours found")
    votes: IntArray = torch.cat(parts).cpu().numpy()
    return votes


SPEC = DefenceSpec(
    name="knn-label",
    summary="Gives a row the label that its nearest neighbours agree on, or drops it.",
    citation="Paudice, Munoz-Gonzalez, Lupu 2018, Label sanitization against label flipping poisoning attacks, "
    "algorithm 1, arXiv 1803.00992; "
    "Peri et al. 2020, Deep k-NN defense against clean-label data poisoning attacks, arXiv 1909.13374",
    params=Params,
    randomised=False,
    load=KnnLabel,
    acts=frozenset({Act.SANITISE}),
)
