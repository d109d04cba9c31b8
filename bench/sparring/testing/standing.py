"""A model that stands in the victim's place (behind a guard, or fitted by a defence), and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.judge import checked_labels
from sparring.model import Model
from sparring.stage import RuleBroken
from sparring.testing.fingerprints import Answers
from sparring.testing.limited import Licence
from sparring.threat import Access

ASKS: Mapping[Access, Callable[[Model, Tensor], Tensor]] = {
    Access.DECISIONS: lambda model, x: model.predict(x),
    Access.SCORES: lambda model, x: model.scores(x),
    Access.PROBABILITIES: lambda model, x: model.probabilities(x),
    Access.GRADIENTS: lambda model, x: model.logits(x),
    Access.FEATURES: lambda model, x: model.features(x),
}
"""How the harness and attackers ask for what a model offers."""

VALUES = (Access.SCORES, Access.PROBABILITIES, Access.GRADIENTS)
"""What has one value for every class."""


@dataclass(frozen=True, eq=False)
class Standing:
    """The model, and the licence of the victim's models behind it.

    Attributes:
        randomised: whether it says that two calls may differ.
    """

    model: Model
    licence: Licence
    randomised: bool = False

    @property
    def answering(self) -> tuple[Access, ...]:
        """What it can be asked for."""
        return tuple(access for access in ASKS if access in self.model.offers)

    def ask(self, access: Access, x: Tensor) -> Tensor:
        """What it answers, detached."""
        with self.licence.answering(access), torch.no_grad():
            return ASKS[access](self.model, x).detach()

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient of the largest logits, the shape of `x`; zeros where none comes through."""
        leaf = x.clone().requires_grad_(True)
        with self.licence.answering(Access.GRADIENTS), torch.enable_grad():
            height = self.model.logits(leaf).max(dim=1).values.sum()
            gradient = torch.autograd.grad(height, leaf, allow_unused=True)[0] if height.requires_grad else None
        return torch.zeros_like(x) if gradient is None else gradient

    def answers(self, x: Tensor) -> dict[str, Tensor]:
        """Everything that it offers for images."""
        found = {access.value: self.ask(access, x) for access in self.answering}
        if Access.GRADIENTS in found:
            found["logits"] = found.pop(Access.GRADIENTS)
            found["gradient"] = self.gradient(x)
        return found


def check_answers(name: str, answers: Answers, shape: tuple[int, ...], classes: int) -> None:
    """Raise `RuleBroken` where `Standing.answers` for images of `shape` are not what `sparring.model` says."""
    for kind, found in answers.items():
        if kind == Access.DECISIONS:
            checked_labels(name, found, shape[0], classes)
        elif kind == Access.FEATURES:
            if found.ndim != 2 or len(found) != shape[0]:
                raise RuleBroken(f"{name} gave features of shape {found.shape}; expected ({shape[0]}, D)")
        else:
            _check_values(name, kind, found, shape if kind == "gradient" else (shape[0], classes))


def _check_values(name: str, kind: str, found: NDArray[Any], shape: tuple[int, ...]) -> None:
    if found.shape != shape:
        raise RuleBroken(f"{name} gave {kind} of shape {found.shape}; expected {shape}")
    if not np.isfinite(found).all():
        raise RuleBroken(f"{name} gave {kind} that are NaN or infinite")
    if kind == Access.PROBABILITIES and not (found.min(initial=0) >= 0 and np.allclose(found.sum(1), 1, atol=1e-4)):
        raise RuleBroken(f"{name} gave probabilities that do not sum to 1, or are negative")
