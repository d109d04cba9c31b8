"""What the parameters of all network victims have in common: their recipe, flat. Import-light."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sparring.plugin import param
from sparring.threat import MODEL_ACCESS, Access
from sparring.training import Augmentation, Optimiser, Recipe, Schedule

NETWORK_VICTIM_OFFERS = MODEL_ACCESS | {Access.RECIPE}

RATE = "step size of the optimiser (the peak, with a schedule)"
SCHEDULE = "of the learning rate, over all epochs"
EPOCHS = "passes over the training set at most"
BATCH_SIZE = "images per step"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkParams:
    """The fields of `Recipe` but the inner adversary, which only defences add."""

    optimiser: Optimiser = param(Optimiser.ADAM, "which optimiser")
    learning_rate: float = param(1e-3, RATE, above=0)
    momentum: float = param(0.9, "for the optimisers momentum and rmsprop", at_least=0, below=1)
    weight_decay: float = param(0.0, "L2 penalty as the optimiser understands it", at_least=0)
    schedule: Schedule = param(Schedule.CONSTANT, SCHEDULE)
    epochs: int = param(10, EPOCHS, at_least=1)
    batch_size: int = param(128, BATCH_SIZE, at_least=1)
    augmentation: Augmentation = param(Augmentation.NONE, "random changes of each training image, anew every epoch")
    stop_at_error: float | None = param(
        None, "stop after the first epoch whose training error is at most this", at_least=0, at_most=1
    )


def recipe_of(params: NetworkParams) -> Recipe:
    """The recipe that a network victim's parameters spell out."""
    return Recipe(**{f.name: getattr(params, f.name) for f in fields(NetworkParams)})
