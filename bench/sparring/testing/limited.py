"""The victim as a defence may use it: what its declaration does not name is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from sparring.contracts import Context, Victim
from sparring.data import ArrayDataset, Arrays
from sparring.model import Model, NotOffered
from sparring.threat import Access
from sparring.training import Recipe

ALWAYS = frozenset({Access.DECISIONS})
"""Every model predicts: a defence that asks for no more applies to all victims, and need not declare it."""


@dataclass(eq=False)
class Licence:
    """What may be used of the victim's models.

    Attributes:
        who: the defence, for messages.
        granted: what its declaration names under `needs`.
        through: what a model that stands in the victim's place may pass on. A guard that declares nothing still lets
            gradients through to an attacker who asks it for gradients: applicability has seen that the victim offers
            them. To answer for anything else, it needs what it declares.
    """

    who: str
    granted: frozenset[Access]
    through: frozenset[Access] = frozenset()
    _asked: Access | None = field(default=None, init=False)

    @property
    def offered(self) -> frozenset[Access]:
        return self.granted | self.through | ALWAYS

    @contextmanager
    def answering(self, access: Access) -> Iterator[None]:
        """While the model in the victim's place is asked for `access`."""
        before, self._asked = self._asked, access
        try:
            yield
        finally:
            self._asked = before

    def check(self, access: Access) -> None:
        """Raises `NotOffered`."""
        if access in self.granted | ALWAYS or (access is self._asked and access in self.through):
            return
        answering = "" if self._asked is None else f" to answer for {self._asked}"
        raise NotOffered(f"{self.who} used {access} of the model{answering} without declaring it under needs")


class LimitedModel(Model):
    """A view of a victim's model that gives what the licence allows, and the state that every model has. Counts
    nothing: defences have no query budget.

    Raises:
        NotOffered: something else is asked of it.
    """

    def __init__(self, inner: Model, licence: Licence) -> None:
        self._inner = inner
        self._licence = licence
        self.offers = inner.offers & licence.offered
        self.classes = inner.classes

    def predict(self, x: Tensor) -> Tensor:
        return self._allowed(Access.DECISIONS).predict(x)

    def scores(self, x: Tensor) -> Tensor:
        return self._allowed(Access.SCORES).scores(x)

    def probabilities(self, x: Tensor) -> Tensor:
        return self._allowed(Access.PROBABILITIES).probabilities(x)

    def logits(self, x: Tensor) -> Tensor:
        return self._allowed(Access.GRADIENTS).logits(x)

    def features(self, x: Tensor) -> Tensor:
        return self._allowed(Access.FEATURES).features(x)

    def weights(self) -> nn.Module:
        return self._allowed(Access.WEIGHTS).weights()

    def state(self) -> Arrays:
        return self._inner.state()

    def _allowed(self, access: Access) -> Model:
        self._licence.check(access)
        return self._inner


class LimitedVictim:
    """A victim whose models are limited. Satisfies `sparring.contracts.Victim`."""

    def __init__(self, inner: Victim, licence: Licence) -> None:
        self._inner = inner
        self._licence = licence

    def recipe(self) -> Recipe:
        return self._inner.recipe()

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        return LimitedModel(self._inner.fit(train, recipe, ctx), self._licence)

    def restore(self, state: Arrays, ctx: Context) -> Model:
        return LimitedModel(self._inner.restore(state, ctx), self._licence)
