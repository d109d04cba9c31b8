"""Victims that break one rule each. The text of this module is installed as a distribution of its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, VictimSpec, param
from sparring.threat import MODEL_ACCESS, Access
from sparring.training import Recipe

LEFT_BEHIND: list[Any] = []


def linear_network(shape: tuple[int, int, int], classes: int) -> Any:
    """A layer of features, which is not trained, and a linear one."""
    from math import prod

    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shape", torch.tensor(shape))
            self.body = nn.Linear(prod(shape), 64)
            self.head = nn.Linear(64, classes)

        def features(self, x: Any) -> Any:
            return self.body(x.flatten(1)).relu()

        def forward(self, x: Any) -> Any:
            return self.head(self.features(x))

    return Network()


class Linear:
    """Not bad: a small network."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def recipe(self) -> Recipe:
        return Recipe(learning_rate=0.01, epochs=15, batch_size=32)

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        from sparring.training_loop import initialised
        from sparring.training_loop import train as trained

        network = initialised(lambda: linear_network(train.image_shape, train.classes), ctx)
        return self.model(trained(network, train, recipe, ctx), train.classes)

    def restore(self, state: Any, ctx: Any) -> Any:
        from sparring.model import load_state, untouched_randomness

        channels, height, width = map(int, state["shape"])
        with untouched_randomness():
            network = linear_network((channels, height, width), len(state["head.bias"]))
        network = load_state(network, {name: state[name] for name in network.state_dict()})
        return self.model(network.to(ctx.device), len(state["head.bias"]))

    def model(self, network: Any, classes: int) -> Any:
        from sparring.model import NetworkModel

        return NetworkModel(network, classes)


GOOD = VictimSpec(name="good-linear", summary="A small network.", load=Linear, offers=MODEL_ACCESS | {Access.RECIPE})


class Frozen(Linear):
    """Not bad: the features are those of another data set."""

    def pretrain(self, external: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(external, recipe, ctx)

    def restore_features(self, state: Any, ctx: Any) -> Any:
        return self.restore(state, ctx)

    def fit_head(self, features: Any, train: Any, ctx: Any) -> Any:
        from sparring.training_loop import initialised
        from sparring.training_loop import train as trained

        network = initialised(lambda: linear_network(train.image_shape, train.classes), ctx)
        network.body.load_state_dict(features.weights().body.state_dict())
        network.body.requires_grad_(False)
        return self.model(trained(network, train, self.recipe(), ctx), train.classes)


GOOD_FROZEN = replace(GOOD, name="good-frozen", load=Frozen, acts=frozenset({Act.PRETRAIN}))


class Rounds(Linear):
    """Not bad: the mean of what the clients send."""

    clients = 2
    rounds = 3

    def fit_rounds(self, clients: Any, recipe: Any, corrupt: Any, ctx: Any) -> Any:
        import torch

        from sparring.training_loop import initialised

        shape, classes = clients[0].image_shape, clients[0].classes
        server = initialised(lambda: linear_network(shape, classes), ctx)
        for round_ in range(self.rounds):
            weights = {name: w.detach().clone() for name, w in server.named_parameters()}
            updates = []
            for client, rows in enumerate(clients):
                local = initialised(lambda: linear_network(shape, classes), ctx)
                local.load_state_dict(server.state_dict())
                updates.append(self.sent(self.update(local, weights, rows, recipe, ctx), client, round_, corrupt))
            with torch.no_grad():
                for name, w in server.named_parameters():
                    w.copy_(weights[name] + torch.stack([update[name] for update in updates]).mean(dim=0))
        return self.model(server, classes)

    def update(self, local: Any, weights: Any, rows: Any, recipe: Any, ctx: Any) -> Any:
        from sparring.training_loop import train

        train(local, rows, recipe, ctx)
        return {name: w.detach() - weights[name] for name, w in local.named_parameters()}

    def sent(self, update: Any, client: int, round_: int, corrupt: Any) -> Any:
        return corrupt(update, client, round_)


GOOD_ROUNDS = replace(GOOD, name="good-rounds", load=Rounds, acts=frozenset({Act.FIT_ROUNDS}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    width: int = param(3, "width")

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.width + 1)


@dataclass(frozen=True, kw_only=True, init=False)
class Lenient:
    width: int = param(3, "width")

    def __init__(self, **settings: Any) -> None:
        object.__setattr__(self, "width", settings.get("width", 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    width: int = 3


class Raises(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        raise ValueError("nothing works")


class _Altered(Linear):
    """Another model than `NetworkModel`."""

    def model(self, network: Any, classes: int) -> Any:
        return self.altered()(network, classes)

    def altered(self) -> Any:
        raise NotImplementedError


class HalfPrecision(_Altered):
    """Its features hold infinite values."""

    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def features(self, x: Any) -> Any:
                return super().features(x) / 0.0

        return Altered


class Fickle(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train, recipe, replace(ctx, seed=time.time_ns() % 2**31, _rng=None, _generator=None))


class SeedBlind(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train, recipe, replace(ctx, seed=0, _rng=None, _generator=None))


class Whitens(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        model = super().fit(train, recipe, ctx)
        train.pixels[0] = 255
        return model


class Thaws(Frozen):
    def fit_head(self, features: Any, train: Any, ctx: Any) -> Any:
        features.weights().requires_grad_(True)
        return super().fit_head(features, train, ctx)


class GlobalRandomness(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        random.seed(ctx.seed)
        return super().fit(train, recipe, ctx)


class Threads(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        import torch

        model = super().fit(train, recipe, ctx)
        torch.set_num_threads(torch.get_num_threads() + 1)
        return model


class Settings(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "") + "1"
        return super().fit(train, recipe, ctx)


class GreyOnly(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        train.x.reshape(len(train), 1, *train.image_shape[1:])
        return super().fit(train, recipe, ctx)


class SquareOnly(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        train.x.reshape(len(train), train.image_shape[0], train.image_shape[1], train.image_shape[1])
        return super().fit(train, recipe, ctx)


class TenClasses(Linear):
    def model(self, network: Any, classes: int) -> Any:
        return super().model(network, 10)


class Squeezes(_Altered):
    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def predict(self, x: Any) -> Any:
                return super().predict(x).squeeze()

        return Altered


class OtherOffers(_Altered):
    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            offers = MODEL_ACCESS - {Access.FEATURES}

        return Altered


class Refuses(_Altered):
    """Offers probabilities, and gives none."""

    def altered(self) -> Any:
        from sparring.model import Model, NetworkModel

        class Altered(NetworkModel):
            probabilities = Model.probabilities

        return Altered


class TellsMore(_Altered):
    """Offers no features, and gives them."""

    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            offers = MODEL_ACCESS - {Access.FEATURES}

        return Altered


class Distances(_Altered):
    """Its scores are smaller for what it prefers."""

    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def scores(self, x: Any) -> Any:
                return -super().scores(x)

            def predict(self, x: Any) -> Any:
                return super().scores(x).argmax(dim=1)

            def probabilities(self, x: Any) -> Any:
                return super().scores(x).softmax(dim=1)

        return Altered


class Exponentials(_Altered):
    """Its probabilities do not sum to 1."""

    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def probabilities(self, x: Any) -> Any:
                return self.scores(x).exp()

        return Altered


class Detached(_Altered):
    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def logits(self, x: Any) -> Any:
                return super().logits(x.detach())

        return Altered


class Downhill(_Altered):
    """Its logits have gradients of the other sign."""

    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def logits(self, x: Any) -> Any:
                logits = super().logits(x)
                return 2 * logits.detach() - logits

        return Altered


class Centres(_Altered):
    """Takes the mean over the batch from its scores."""

    def altered(self) -> Any:
        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def scores(self, x: Any) -> Any:
                scores = super().scores(x)
                return scores + 0.01 * scores.mean()

        return Altered


class Forgets(Linear):
    """A factor that is in no state."""

    factor = 1.0

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        self.factor = 1.5
        return super().fit(train, recipe, ctx)

    def model(self, network: Any, classes: int) -> Any:
        from sparring.model import NetworkModel

        factor = self.factor

        class Scaled(NetworkModel):
            def scores(self, x: Any) -> Any:
                return super().scores(x) * factor

        return Scaled(network, classes)


class Remembers(Forgets):
    """A factor that lies in the module, where another process does not find it."""

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        LEFT_BEHIND.append(1.5)
        return super().fit(train, recipe, ctx)

    def restore(self, state: Any, ctx: Any) -> Any:
        self.factor = LEFT_BEHIND[-1] if LEFT_BEHIND else 1.0
        return super().restore(state, ctx)


class Objects(_Altered):
    def altered(self) -> Any:
        import numpy as np

        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def state(self) -> Any:
                return super().state() | {"names": np.array(["zero", None], dtype=object)}

        return Altered


class NotANumber(_Altered):
    def altered(self) -> Any:
        import numpy as np

        from sparring.model import NetworkModel

        class Altered(NetworkModel):
            def state(self) -> Any:
                return super().state() | {"loss": np.array(float("nan"))}

        return Altered


class Unlabelled(Linear):
    """Learns other labels."""

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train.relabelled((train.y + 1) % train.classes), recipe, ctx)


class OwnRecipe(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train, self.recipe(), ctx)


class NoAdversary(Linear):
    """Heeds all of the recipe but what adversarial training adds."""

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train, replace(recipe, adversary=None), ctx)


class OwnPretraining(Frozen):
    def pretrain(self, external: Any, recipe: Any, ctx: Any) -> Any:
        return super().pretrain(external, self.recipe(), ctx)


class OneClient(Rounds):
    clients = 1


class Blackens(Rounds):
    def fit_rounds(self, clients: Any, recipe: Any, corrupt: Any, ctx: Any) -> Any:
        model = super().fit_rounds(clients, recipe, corrupt, ctx)
        clients[-1].pixels[0] = 0
        return model


class LastOnesOnly(Rounds):
    def sent(self, update: Any, client: int, round_: int, corrupt: Any) -> Any:
        return corrupt(update, client, round_) if round_ == self.rounds - 1 else update


class Deaf(Rounds):
    def sent(self, update: Any, client: int, round_: int, corrupt: Any) -> Any:
        corrupt(dict(update), client, round_)
        return update


class Homebound(Linear):
    """Seeds itself with something that another process does not have."""

    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train, recipe, replace(ctx, seed=ctx.seed + os.getpid(), _rng=None, _generator=None))


class Slow(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        time.sleep(8.0 * (len(train) >= 600))
        return super().fit(train, recipe, ctx)


class OnTheCpu(Linear):
    def fit(self, train: Any, recipe: Any, ctx: Any) -> Any:
        return super().fit(train, recipe, replace(ctx, device="cpu"))


def _victim(check: str, load: Any, *, how: str = "", **declared: Any) -> tuple[str, VictimSpec]:
    """The check that it breaks, and the victim."""
    return check, replace(GOOD, name=f"breaks-{check}{how and '-by-'}{how}", load=load, **declared)


_FROZEN, _ROUNDS = frozenset({Act.PRETRAIN}), frozenset({Act.FIT_ROUNDS})

BAD = (
    _victim("parameters-survive", Linear, params=Growing),
    _victim("unknown-parameters-refused", Linear, params=Lenient),
    _victim("explains-itself", Linear, params=Silent),
    _victim("runs", Raises),
    _victim("legal-answers", HalfPrecision),
    _victim("same-seed-same-bytes", Fickle),
    _victim("another-seed-differs", SeedBlind),
    _victim("inputs-untouched", Whitens),
    _victim("inputs-untouched", Blackens, how="a-client", acts=_ROUNDS),
    _victim("model-untouched", Thaws, acts=_FROZEN),
    _victim("global-randomness-untouched", GlobalRandomness),
    _victim("threads-untouched", Threads),
    _victim("settings-untouched", Settings),
    _victim("three-channels", GreyOnly),
    _victim("odd-sizes", SquareOnly),
    _victim("two-classes", TenClasses),
    _victim("one-image", Squeezes),
    _victim("offers-what-it-says", OtherOffers),
    _victim("offers-what-it-says", Refuses, how="refusing"),
    _victim("offers-what-it-says", TellsMore, how="telling-more", offers=GOOD.offers - {Access.FEATURES}),
    _victim("predicts-its-largest-score", Distances),
    _victim("predicts-its-largest-score", Exponentials, how="exponentials"),
    _victim("gradients-lead-uphill", Detached),
    _victim("gradients-lead-uphill", Downhill, how="going-down"),
    _victim("each-image-alone", Centres),
    _victim("restores-what-it-was", Forgets),
    _victim("restores-what-it-was", Remembers, how="remembering"),
    _victim("state-is-plain-arrays", Objects),
    _victim("state-is-plain-arrays", NotANumber, how="diverging"),
    _victim("learns", Unlabelled),
    _victim("follows-the-recipe", OwnRecipe),
    _victim("follows-the-recipe", NoAdversary, how="dropping-the-adversary"),
    _victim("follows-the-recipe", OwnPretraining, how="pretraining", acts=_FROZEN),
    _victim("has-clients", OneClient, acts=_ROUNDS),
    _victim("shows-every-update", LastOnesOnly, acts=_ROUNDS),
    _victim("uses-what-was-sent", Deaf, acts=_ROUNDS),
    _victim("works-in-a-spawned-process", Homebound),
    _victim("stops-in-time", Slow),
    _victim("cuda-agrees", OnTheCpu),
)


@hookimpl
def sparring_victims() -> Iterable[VictimSpec]:
    return (GOOD, GOOD_FROZEN, GOOD_ROUNDS, *(spec for _, spec in BAD))
