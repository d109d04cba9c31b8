"""Models: what a fit returns, and the metered view of one that an attack gets.

Every input is a float32 tensor (N, C, H, W) in [0, 1]; normalisation lives inside the victim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.data import Arrays
from sparring.stage import RuleBroken
from sparring.threat import Access


class NotOffered(RuleBroken):
    """Something was asked of a model that it does not offer, or that was not declared under `needs`."""


class QueryBudgetExceeded(RuleBroken):
    """An attack asked for more model evaluations than its threat model allows."""


class Model(ABC):
    """A fitted model.

    Subclasses set `offers` and `classes`, and implement what they offer. Only `predict` is always there; it falls
    back to the largest score.
    """

    offers: frozenset[Access]
    classes: int

    def predict(self, x: Tensor) -> Tensor:
        """(N,) int64 predicted classes."""
        return self.scores(x).argmax(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) class values that preserve the model's order of classes.

        Raises:
            NotOffered: the model gives decisions only.
        """
        raise NotOffered(f"{type(self).__name__} offers no scores")

    def probabilities(self, x: Tensor) -> Tensor:
        """(N, K), rows sum to 1. Raises `NotOffered`."""
        raise NotOffered(f"{type(self).__name__} offers no probabilities")

    def logits(self, x: Tensor) -> Tensor:
        """(N, K), differentiable in `x`. Raises `NotOffered`."""
        raise NotOffered(f"{type(self).__name__} offers no gradients")

    def features(self, x: Tensor) -> Tensor:
        """(N, D) penultimate activations, differentiable in `x`. Raises `NotOffered`."""
        raise NotOffered(f"{type(self).__name__} offers no features")

    def weights(self) -> nn.Module:
        """The network itself. Raises `NotOffered`."""
        raise NotOffered(f"{type(self).__name__} offers no weights")

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of the summed cross-entropy at labels `y` (N,) with respect to `x`, same shape as `x`."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            loss = F.cross_entropy(self.logits(leaf), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient.detach()

    @abstractmethod
    def state(self) -> Arrays:
        """Everything that `Victim.restore` needs to make this model again, as named arrays."""


NETWORK_OFFERS = frozenset(
    {Access.DECISIONS, Access.SCORES, Access.PROBABILITIES, Access.GRADIENTS, Access.FEATURES, Access.WEIGHTS}
)


class NetworkModel(Model):
    """A torch network as a model: all of `NETWORK_OFFERS`. Its parameters are frozen and it stays in eval mode.

    Args:
        network: maps (N, C, H, W) in [0, 1] to (N, K) logits; has a method `features(x) -> (N, D)`.
        classes: K.
        batch_size: images per forward pass of `predict`, `scores` and `probabilities`.
    """

    offers = NETWORK_OFFERS

    def __init__(self, network: nn.Module, classes: int, batch_size: int = 512) -> None:
        self.network = network.eval().requires_grad_(False)
        self.classes = classes
        self.batch_size = batch_size

    def scores(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.network(part) for part in _batches(x, self.batch_size)])

    def probabilities(self, x: Tensor) -> Tensor:
        return self.scores(x).softmax(dim=1)

    def logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.features(x)  # type: ignore[operator]
        return features

    def weights(self) -> nn.Module:
        return self.network

    def state(self) -> Arrays:
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.network.state_dict().items()}


def load_state(network: nn.Module, state: Arrays) -> nn.Module:
    """Put the arrays of `NetworkModel.state` into a network of the same shape."""
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    return network


def _batches(x: Tensor, size: int) -> Iterator[Tensor]:
    return iter(torch.split(x, size)) if len(x) else iter((x,))


Backward = Literal["exact", "identity"] | Callable[[Tensor], Tensor]
"""How gradients pass a guard: as they are; straight through; or those of a differentiable surrogate function."""


@dataclass(frozen=True)
class Guard:
    """What `guard` returns.

    Attributes:
        model: answers at inference in the place of the victim.
        randomised: whether two calls may differ; adaptive attacks then average over it.
    """

    model: Model
    randomised: bool = False


class TransformedModel(Model):
    """A model behind an input transformation: what most guards are.

    Args:
        inner: the victim's model.
        transform: (N, C, H, W) in [0, 1] to the same.
        backward: see `Backward`; BPDA (Athalye et al. 2018, section 4) for what is not differentiable.
    """

    def __init__(self, inner: Model, transform: Callable[[Tensor], Tensor], backward: Backward) -> None:
        self.inner = inner
        self.transform = transform
        self.backward = backward
        self.offers = inner.offers - {Access.WEIGHTS}
        self.classes = inner.classes

    def _passed(self, x: Tensor) -> Tensor:
        if self.backward == "exact" or not (torch.is_grad_enabled() and x.requires_grad):
            return self.transform(x)
        soft = x if self.backward == "identity" else self.backward(x)
        with torch.no_grad():
            hard = self.transform(x)
        return soft + (hard - soft).detach()

    def predict(self, x: Tensor) -> Tensor:
        return self.inner.predict(self.transform(x))

    def scores(self, x: Tensor) -> Tensor:
        return self.inner.scores(self.transform(x))

    def probabilities(self, x: Tensor) -> Tensor:
        return self.inner.probabilities(self.transform(x))

    def logits(self, x: Tensor) -> Tensor:
        return self.inner.logits(self._passed(x))

    def features(self, x: Tensor) -> Tensor:
        return self.inner.features(self._passed(x))

    def state(self) -> Arrays:
        return self.inner.state()


class ExpectedModel(Model):
    """The mean over `samples` evaluations of a randomised model: expectation over transformations
    (Athalye et al. 2018, section 4.2). Gradients are those of the mean logits."""

    def __init__(self, inner: Model, samples: int) -> None:
        self.inner = inner
        self.samples = samples
        self.offers = inner.offers - {Access.WEIGHTS}
        self.classes = inner.classes

    def _mean(self, ask: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.stack([ask(x) for _ in range(self.samples)]).mean(dim=0)

    def predict(self, x: Tensor) -> Tensor:
        """The class of the largest mean score; of a model that gives decisions only, the most frequent one."""
        if Access.SCORES in self.offers:
            return super().predict(x)
        votes = self._mean(lambda x: F.one_hot(self.inner.predict(x), self.classes).float(), x)
        return votes.argmax(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.scores, x)

    def probabilities(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.probabilities, x)

    def logits(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.logits, x)

    def features(self, x: Tensor) -> Tensor:
        return self._mean(self.inner.features, x)

    def state(self) -> Arrays:
        return self.inner.state()


@dataclass
class Meter:
    """Rows that went through a model: `forward` evaluations and `gradient` evaluations (backward passes)."""

    forward: int = 0
    gradient: int = 0


class MeteredModel(Model):
    """The view of a model that an attack gets: counts rows, enforces the budget, and refuses what was not declared.

    The model and the counters are no attributes of the view: an attack that sets `meter` or `offers` changes nothing.

    Args:
        inner: the model; hidden.
        needs: the access that the attack declared.
        query_rows: rows (forward and gradient together) it may ask for in all; `None` for no limit.
        cost: what one row costs, where one call stands for several evaluations (expectation over randomness).
        meter: where rows are counted; whoever must trust the count keeps it and does not ask the view.
        attack: for messages.
    """

    def __init__(
        self,
        inner: Model,
        needs: frozenset[Access],
        query_rows: int | None = None,
        cost: int = 1,
        *,
        meter: Meter | None = None,
        attack: str = "the attack",
    ) -> None:
        counted = Meter() if meter is None else meter
        self.offers = inner.offers & needs
        self.classes = inner.classes
        self._answer, self._network = _gate(inner, needs, _Till(counted, query_rows, cost, attack), attack)
        self._count = partial(replace, counted)

    @property
    def meter(self) -> Meter:
        """A copy of the count so far."""
        return self._count()

    def predict(self, x: Tensor) -> Tensor:
        return self._answer(Access.DECISIONS, x)

    def scores(self, x: Tensor) -> Tensor:
        return self._answer(Access.SCORES, x)

    def probabilities(self, x: Tensor) -> Tensor:
        return self._answer(Access.PROBABILITIES, x)

    def logits(self, x: Tensor) -> Tensor:
        return self._answer(Access.GRADIENTS, x)

    def features(self, x: Tensor) -> Tensor:
        return self._answer(Access.FEATURES, x)

    def weights(self) -> nn.Module:
        return self._network()

    def state(self) -> Arrays:
        raise NotOffered("an attack does not get a model's state; declare weights")

    def as_module(self) -> nn.Module:
        """This view as a torch module, for attack libraries. It has no parameters, and switching its mode does not
        reach the victim. Its output (N, K) is the most that was declared: logits, else probabilities, else scores,
        else the predicted class as a one-hot row."""
        return _MeteredModule(self)


@dataclass(frozen=True, eq=False)
class _Till:
    """Where queries are paid for."""

    meter: Meter
    query_rows: int | None
    cost: int
    attack: str

    def charge(self, forward: int = 0, gradient: int = 0) -> None:
        spent = self.meter.forward + self.meter.gradient + (forward + gradient) * self.cost
        if self.query_rows is not None and spent > self.query_rows:
            raise QueryBudgetExceeded(
                f"{self.attack} exceeded its budget: it asked for {spent} model evaluations;"
                f" allowed are {self.query_rows}"
            )
        self.meter.forward += forward * self.cost
        self.meter.gradient += gradient * self.cost


def _gate(
    inner: Model, needs: frozenset[Access], till: _Till, attack: str
) -> tuple[Callable[[Access, Tensor], Tensor], Callable[[], nn.Module]]:
    """What answers for `inner`, and what hands out its network. Closures, so that no attribute of the view leads to
    the model or to its meter."""
    asks = {
        Access.DECISIONS: inner.predict,
        Access.SCORES: inner.scores,
        Access.PROBABILITIES: inner.probabilities,
        Access.GRADIENTS: inner.logits,
        Access.FEATURES: inner.features,
    }

    def check(access: Access) -> None:
        if access not in needs:
            raise NotOffered(f"{attack} used {access.value} without declaring it under needs")
        if access not in inner.offers:
            raise NotOffered(f"{attack} used {access.value}, which the model does not offer")

    def answer(access: Access, x: Tensor) -> Tensor:
        check(access)
        till.charge(forward=len(x))
        follows = access in (Access.GRADIENTS, Access.FEATURES) and Access.GRADIENTS in inner.offers & needs
        if not (follows and torch.is_grad_enabled() and x.requires_grad):
            with torch.no_grad():
                return asks[access](x.detach())
        out = asks[access](x)
        if out.requires_grad:
            out.register_hook(lambda grad: till.charge(gradient=len(grad)))
        return out

    def network() -> nn.Module:
        check(Access.WEIGHTS)
        return inner.weights()

    return answer, network


class _MeteredModule(nn.Module):
    def __init__(self, view: MeteredModel) -> None:
        super().__init__()
        self._view: Any
        object.__setattr__(self, "_view", view)  # not a submodule: .train() and .parameters() stop here
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        view: MeteredModel = self._view
        x = x.float()  # some attacks move to double precision
        if Access.GRADIENTS in view.offers:
            return view.logits(x)
        if Access.PROBABILITIES in view.offers:
            return view.probabilities(x)
        if Access.SCORES in view.offers:
            return view.scores(x)
        return F.one_hot(view.predict(x), view.classes).float()


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Leave the global generators of torch, numpy and `random` as they were found: libraries reseed them."""
    import random

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
