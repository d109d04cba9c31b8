"""A model that is a vote of others. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.data import Arrays
from sparring.model import Model
from sparring.threat import Access


class VotingModel(Model):
    """The class with most votes, the lowest of several; scores are the numbers of votes.

    Args:
        members: models by number; a number without a model always votes for class 0.
        voters: how many numbers there are.
        classes: K.
    """

    offers = frozenset({Access.DECISIONS, Access.SCORES})

    def __init__(self, members: Mapping[int, Model], voters: int, classes: int) -> None:
        self.members = members
        self.voters = voters
        self.classes = classes

    def scores(self, x: Tensor) -> Tensor:
        votes = torch.zeros((len(x), self.classes), device=x.device)
        votes[:, 0] = self.voters - len(self.members)
        for member in self.members.values():
            votes += F.one_hot(member.predict(x), self.classes)
        return votes

    def state(self) -> Arrays:
        own = {f"{k}/{name}": array for k, member in self.members.items() for name, array in member.state().items()}
        return {**own, "classes": np.array(self.classes, dtype=np.int64)}
