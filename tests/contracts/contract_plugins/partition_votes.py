"""Votes of models that were each trained on a part of the training set, cut by what the rows contain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access

if TYPE_CHECKING:
    from sparring.contracts import Context, Victim
    from sparring.data import ArrayDataset, Arrays, IntArray
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    parts: int = param(5, "models, each with its part of the training set", at_least=1)


class PartitionVotes:
    """A row's part depends on its pixels alone, so that one poisoned row reaches one model."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        part = parts_of(train, self.params.parts)
        members = [victim.fit(train.rows(part == k), recipe, ctx) for k in range(self.params.parts)]
        return votes_of(members)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        own = [
            {name.partition("/")[2]: array for name, array in state.items() if name.startswith(f"{k}/")}
            for k in range(self.params.parts)
        ]
        return votes_of([victim.restore(arrays, ctx) for arrays in own])


def parts_of(train: ArrayDataset, parts: int) -> IntArray:
    """(N,) the part of each row, by a checksum of its pixels."""
    import zlib

    import numpy as np

    return np.array([zlib.crc32(np.ascontiguousarray(image).data) % parts for image in train.pixels], dtype=np.int64)


def votes_of(members: Sequence[Model]) -> Model:
    """A model whose answer is the class with the most votes (the lowest of several)."""
    import torch
    from torch import Tensor

    from sparring.model import Model

    class Votes(Model):
        offers = frozenset({Access.DECISIONS})
        classes = members[0].classes

        def predict(self, x: Tensor) -> Tensor:
            ballots = torch.stack([member.predict(x) for member in members])
            counts = torch.stack([(ballots == label).sum(dim=0) for label in range(self.classes)])
            return counts.argmax(dim=0)

        def state(self) -> Arrays:
            return {f"{k}/{name}": a for k, member in enumerate(members) for name, a in member.state().items()}

    return Votes()


SPEC = DefenceSpec(
    name="partition-votes",
    summary="Majority of models trained on disjoint parts of the training set.",
    citation="Levine & Feizi 2021, Deep partition aggregation, section 3; arXiv 2006.14768",
    params=Params,
    load=PartitionVotes,
    acts=frozenset({Act.OWN_FIT}),
    offers=frozenset({Access.DECISIONS}),
)
