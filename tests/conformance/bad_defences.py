"""Defences that break one rule each. The text of this module is installed as a distribution of its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access


class Defence:
    def __init__(self, params: Any) -> None:
        self.params = params


# good ones, which the bad ones below spoil


class Filter(Defence):
    """Keeps four rows of five, at random."""

    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        from sparring.contracts import Sanitised

        return Sanitised(self.chance(len(train), ctx) < 0.8)

    def chance(self, count: int, ctx: Any) -> Any:
        return ctx.rng.random(count)


class Slower(Defence):
    """Half the learning rate."""

    def reinforce(self, recipe: Any) -> Any:
        return replace(recipe, learning_rate=recipe.learning_rate / 2)


class Pair(Defence):
    """The mean scores of two models, each fitted to every other row."""

    def fit(self, victim: Any, train: Any, recipe: Any, ctx: Any) -> Any:
        import numpy as np

        rows = np.arange(len(train))
        return pair(*(victim.fit(train.rows(rows[part::2]), recipe, ctx) for part in range(2)))

    def restore(self, victim: Any, state: Any, ctx: Any) -> Any:
        parts = [{n[2:]: a for n, a in state.items() if n.startswith(f"{part}/")} for part in range(2)]
        return pair(*(victim.restore(arrays, ctx) for arrays in parts))


def pair(one: Any, other: Any) -> Any:
    from sparring.model import Model

    class Mean(Model):
        offers = frozenset({Access.DECISIONS, Access.SCORES})
        classes = one.classes

        def scores(self, x: Any) -> Any:
            return (one.scores(x) + other.scores(x)) / 2

        def state(self) -> Any:
            return {f"{part}/{n}": a for part, model in enumerate((one, other)) for n, a in model.state().items()}

    return Mean()


class Tuning(Defence):
    """Says how far the gradients reach, and trains the last layer again."""

    def inspect(self, model: Any, clean: Any, ctx: Any) -> Any:
        import torch

        from sparring.contracts import Finding

        x, y = self.look(model, clean, ctx), torch.tensor(clean.y, device=ctx.device)
        reach = model.gradient(x, y).abs().mean(dim=0)
        return Finding(False, float(reach.max()), arrays={"reach": reach.cpu().numpy()})

    def look(self, model: Any, clean: Any, ctx: Any) -> Any:
        import torch

        return torch.tensor(clean.x, device=ctx.device)

    def repair(self, model: Any, clean: Any, finding: Any, ctx: Any) -> Any:
        from sparring.model import NetworkModel
        from sparring.training import Recipe
        from sparring.training_loop import train

        assert finding.arrays["reach"].shape == clean.image_shape
        network = model.weights()
        network.head.requires_grad_(True)
        return NetworkModel(train(network, clean, Recipe(epochs=1), ctx), model.classes)


class Blur(Defence):
    """A mean over 3 x 3 pixels; the border counts double."""

    backward: Any = "exact"
    randomised = False

    def guard(self, model: Any, ctx: Any) -> Any:
        from sparring.model import Guard, TransformedModel

        return Guard(TransformedModel(model, lambda x: self.transformed(x, ctx), self.backward), self.randomised)

    def transformed(self, x: Any, ctx: Any) -> Any:
        from torch.nn.functional import avg_pool2d

        return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Noise(Blur):
    """And a little noise."""

    randomised = True

    def transformed(self, x: Any, ctx: Any) -> Any:
        import torch

        return super().transformed(x, ctx) + 0.05 * torch.randn(x.shape, generator=ctx.generator).to(x.device)


class Doubt(Defence):
    """One minus the largest probability, less what is usual."""

    def calibrate(self, model: Any, clean: Any, ctx: Any) -> Any:
        import torch

        x = torch.tensor(clean.x, device=ctx.device)
        return {"usual": self.doubt(model, x).mean(dim=0, keepdim=True).cpu().numpy()}

    def score(self, model: Any, x: Any, state: Any, ctx: Any) -> Any:
        return self.doubt(model, x) - float(state["usual"][0])

    def doubt(self, model: Any, x: Any) -> Any:
        return 1 - model.probabilities(x).max(dim=1).values


class Brightness(Defence):
    """A certified classifier of how bright an image is: the mean moves by no more than any pixel does."""

    slack = 1.0

    def certify(self, model: Any, x: Any, ctx: Any) -> Any:
        from sparring.contracts import Certificate

        mean = x.double().mean(dim=(1, 2, 3)).cpu().numpy()
        return Certificate((mean > 0.3).astype("int64"), self.slack * abs(mean - 0.3), "linf")


# each breaks one rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    steps: int = param(3, "steps")

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", self.steps + 1)


@dataclass(frozen=True, kw_only=True, init=False)
class Lenient:
    steps: int = param(3, "steps")

    def __init__(self, **settings: Any) -> None:
        object.__setattr__(self, "steps", settings.get("steps", 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    steps: int = 3


class PeeksAtTheTruth(Filter):
    """Is not told it, as it did not declare the oracle."""

    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        from sparring.contracts import Sanitised

        return Sanitised(~aux.poisoned)


class RemembersItsFinding(Tuning):
    """Between two stages, which are two processes."""

    def inspect(self, model: Any, clean: Any, ctx: Any) -> Any:
        self.reach = super().inspect(model, clean, ctx)
        return self.reach

    def repair(self, model: Any, clean: Any, finding: Any, ctx: Any) -> Any:
        return super().repair(model, clean, self.reach, ctx)


class GuardByScores(Blur):
    """Predicts by scores, which not every victim has."""

    def guard(self, model: Any, ctx: Any) -> Any:
        from sparring.model import Guard, TransformedModel

        class ByScores(TransformedModel):
            def predict(self, x: Any) -> Any:
                return self.scores(x).argmax(dim=1)

        return Guard(ByScores(model, lambda x: self.transformed(x, ctx), "exact"))


class AnswersPairs(Blur):
    """One more class than there is."""

    def guard(self, model: Any, ctx: Any) -> Any:
        from sparring.model import Guard, TransformedModel

        class Answers(TransformedModel):
            def scores(self, x: Any) -> Any:
                scores = super().scores(x)
                return __import__("torch").cat([scores, scores[:, :1]], dim=1)

        return Guard(Answers(model, lambda x: self.transformed(x, ctx), "exact"))


class Fickle(Filter):
    def chance(self, count: int, ctx: Any) -> Any:
        import numpy as np

        return np.random.default_rng().random(count)


class SeedBlind(Filter):
    def chance(self, count: int, ctx: Any) -> Any:
        import numpy as np

        return np.random.default_rng(0).random(count)


class Relabels(Filter):
    def sanitise(self, train: Any, aux: Any, ctx: Any) -> Any:
        train.y[:] = (train.y + 1) % train.classes
        return super().sanitise(train, aux, ctx)


class LeavesFlags(Tuning):
    def look(self, model: Any, clean: Any, ctx: Any) -> Any:
        model.weights().requires_grad_(True)
        return super().look(model, clean, ctx)


class GlobalRandomness(Filter):
    def chance(self, count: int, ctx: Any) -> Any:
        random.seed(ctx.seed)
        return super().chance(count, ctx)


class Threads(Filter):
    def chance(self, count: int, ctx: Any) -> Any:
        import torch

        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().chance(count, ctx)


class Settings(Filter):
    def chance(self, count: int, ctx: Any) -> Any:
        import numpy as np

        np.seterr(all="ignore")
        return super().chance(count, ctx)


class GreyOnly(Blur):
    def transformed(self, x: Any, ctx: Any) -> Any:
        return super().transformed(x.view(len(x), 1, *x.shape[2:]), ctx)


class SquareOnly(Blur):
    def transformed(self, x: Any, ctx: Any) -> Any:
        return (super().transformed(x, ctx) + super().transformed(x.transpose(2, 3), ctx)) / 2


class ThirdClass(Doubt):
    def doubt(self, model: Any, x: Any) -> Any:
        return 1 - model.probabilities(x)[:, 3]


class Squeezes(Doubt):
    def doubt(self, model: Any, x: Any) -> Any:
        return 1 - model.probabilities(x).max(dim=1).values.squeeze()


class Homebound(Filter):
    """Seeds itself with something that another process does not have."""

    def chance(self, count: int, ctx: Any) -> Any:
        import numpy as np

        return np.random.default_rng(ctx.seed + os.getpid()).random(count)


class Slow(Filter):
    def chance(self, count: int, ctx: Any) -> Any:
        time.sleep(0.03 * max(0, count - 400))
        return super().chance(count, ctx)


class OnTheCpu(Blur):
    def transformed(self, x: Any, ctx: Any) -> Any:
        import torch

        return super().transformed(x, ctx) * torch.ones(x.shape)


class Hides(Blur):
    """Its declaration says that whatever the victim offers comes through."""

    def guard(self, model: Any, ctx: Any) -> Any:
        guard = super().guard(model, ctx)
        guard.model.offers = frozenset({Access.DECISIONS})
        return guard


class HidesItsNoise(Noise):
    randomised = False


class SwearsToBeRandomised(Blur):
    randomised = True


class GuardsPredictionsOnly(Blur):
    """An attacker follows the gradients of a model that nobody uses."""

    def guard(self, model: Any, ctx: Any) -> Any:
        from sparring.model import Guard, TransformedModel

        class Halfway(TransformedModel):
            def predict(self, x: Any) -> Any:
                return model.predict(1 - x)

        return Guard(Halfway(model, lambda x: self.transformed(x, ctx), "exact"))


class MasksGradients(Blur):
    def transformed(self, x: Any, ctx: Any) -> Any:
        return (super().transformed(x, ctx) * 15).round() / 15


class NormalisesTheBatch(Blur):
    def transformed(self, x: Any, ctx: Any) -> Any:
        return super().transformed(x, ctx) / x.mean()


class ComparesWithTheBatch(Doubt):
    def score(self, model: Any, x: Any, state: Any, ctx: Any) -> Any:
        doubt = self.doubt(model, x)
        return doubt - doubt.mean()


class ForgetsItsSecond(Pair):
    def restore(self, victim: Any, state: Any, ctx: Any) -> Any:
        one = victim.restore({n[2:]: a for n, a in state.items() if n.startswith("0/")}, ctx)
        return pair(one, one)


class RepairsBeyondState(Tuning):
    """What it does to the answers is lost."""

    def repair(self, model: Any, clean: Any, finding: Any, ctx: Any) -> Any:
        from sparring.model import TransformedModel

        return TransformedModel(model, lambda x: 1 - x, "exact")


class WritesItsOwnRecipe(Slower):
    def reinforce(self, recipe: Any) -> Any:
        from sparring.training import Recipe

        return Recipe(epochs=recipe.epochs, learning_rate=recipe.learning_rate / 2)


class CountsCalls(Slower):
    calls = 0

    def reinforce(self, recipe: Any) -> Any:
        self.calls += 1
        return replace(recipe, batch_size=8 * self.calls)


class StepsBackwards(Slower):
    def reinforce(self, recipe: Any) -> Any:
        return replace(recipe, learning_rate=-recipe.learning_rate)


class TooSure(Brightness):
    slack = 3.0


def _spec(name: str, load: Any, *acts: Act, **declared: Any) -> DefenceSpec:
    return DefenceSpec(name=name, summary="For tests.", load=load, acts=frozenset(acts), **declared)


_LOOKS = {"needs": frozenset({Access.GRADIENTS, Access.WEIGHTS})}
_PAIR = {"needs": frozenset({Access.SCORES}), "offers": frozenset({Access.DECISIONS, Access.SCORES})}

GOOD = (
    _spec("good-filter", Filter, Act.SANITISE),
    _spec("good-slower", Slower, Act.REINFORCE, randomised=False),
    _spec("good-pair", Pair, Act.OWN_FIT, **_PAIR),
    _spec("good-tuning", Tuning, Act.INSPECT, Act.REPAIR, **_LOOKS),
    _spec("good-blur", Blur, Act.GUARD, randomised=False),
    _spec("good-noise", Noise, Act.GUARD),
    _spec("good-doubt", Doubt, Act.DETECT, randomised=False, needs=frozenset({Access.PROBABILITIES})),
    _spec("good-brightness", Brightness, Act.CERTIFY, randomised=False),
)
_GOOD = {spec.load: spec for spec in GOOD}


def _bad(breaks: str, load: type[Any], **declared: Any) -> DefenceSpec:
    """Declared as the good one that it comes from."""
    good = next(_GOOD[base] for base in load.__mro__ if base in _GOOD)
    return replace(good, name=f"{breaks}-by-{load.__name__.lower()}", load=load, **declared)


BAD = (
    _bad("parameters-survive", Filter, params=Growing),
    _bad("unknown-parameters-refused", Filter, params=Lenient),
    _bad("explains-itself", Filter, params=Silent),
    _bad("runs", PeeksAtTheTruth),
    _bad("runs", RemembersItsFinding),
    _bad("declares-its-needs", Tuning, needs=frozenset({Access.WEIGHTS})),
    _bad("declares-its-needs", Doubt, needs=frozenset()),
    _bad("declares-its-needs", GuardByScores),
    _bad("declares-its-needs", Pair, needs=frozenset()),
    _bad("legal-answers", AnswersPairs),
    _bad("same-seed-same-bytes", Fickle),
    _bad("another-seed-differs", SeedBlind),
    _bad("another-seed-differs", Noise, randomised=False),
    _bad("inputs-untouched", Relabels),
    _bad("model-untouched", LeavesFlags),
    _bad("global-randomness-untouched", GlobalRandomness),
    _bad("threads-untouched", Threads),
    _bad("settings-untouched", Settings),
    _bad("three-channels", GreyOnly),
    _bad("odd-sizes", SquareOnly),
    _bad("two-classes", ThirdClass),
    _bad("one-image", Squeezes),
    _bad("works-in-a-spawned-process", Homebound),
    _bad("stops-in-time", Slow),
    _bad("cuda-agrees", OnTheCpu),
    _bad("offers-what-it-declares", Hides),
    _bad("offers-what-it-declares", Pair, offers=None),
    _bad("tells-if-randomised", HidesItsNoise),
    _bad("tells-if-randomised", SwearsToBeRandomised),
    _bad("answers-agree", GuardsPredictionsOnly),
    _bad("gradients-come-through", MasksGradients),
    _bad("ignores-neighbours", NormalisesTheBatch),
    _bad("ignores-neighbours", ComparesWithTheBatch),
    _bad("comes-back-from-arrays", ForgetsItsSecond),
    _bad("comes-back-from-arrays", RepairsBeyondState, randomised=False),
    _bad("builds-on-the-recipe", WritesItsOwnRecipe),
    _bad("same-recipe-same-answer", CountsCalls),
    _bad("trains-as-reinforced", StepsBackwards),
    _bad("certificates-hold", TooSure),
)
"""Named "<the check it breaks>-by-<class>"."""


@hookimpl
def sparring_defences() -> Iterable[DefenceSpec]:
    return (*GOOD, *BAD)
