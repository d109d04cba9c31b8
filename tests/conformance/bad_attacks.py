"""Attacks that break one rule each. The text of this module is installed as a distribution of its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparring.hookspecs import hookimpl
from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When


class Noise:
    """Not bad: uniform noise within epsilon."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        epsilon = 0.1 if threat.epsilon is None else threat.epsilon
        return (x + self.noise(x.shape, ctx).to(x.device) * self.size(epsilon)).clamp(0, 1)

    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        import torch

        return torch.rand(tuple(shape), generator=ctx.generator) * 2 - 1

    def size(self, epsilon: float) -> float:
        return epsilon


GOOD = AttackSpec(
    name="good-noise",
    summary="Uniform noise.",
    load=Noise,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION,),
    norms=(Norm.LINF,),
    reads=frozenset({"epsilon"}),
    threat=ThreatModel(epsilon=0.1),
)


class Flips:
    """Not bad: random wrong labels."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def poison(self, train: Any, threat: Any, targets: Any, aux: Any, ctx: Any) -> Any:
        from sparring.data import Poisoned

        count = min(self.count(threat.poison_fraction, len(train)), len(train))
        rows = ctx.rng.choice(len(train), size=count, replace=False)
        shift = ctx.rng.integers(1, train.classes, size=count)
        images = train.rows(rows)
        return [Poisoned(rows, images.x, (images.y + shift) % train.classes)]

    def count(self, fraction: float | None, rows: int) -> int:
        return int((0.1 if fraction is None else fraction) * rows)


GOOD_FLIPS = AttackSpec(
    name="good-flips",
    summary="Wrong labels.",
    load=Flips,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=0.1),
)


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


class Raises(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        raise ValueError("nothing works")


class AsksForScores(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        model.scores(x)
        return super().perturb(model, x, y, threat, aux, ctx)


class OutOfRange(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        return x + self.noise(x.shape, ctx)


class Fickle(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        import torch

        fresh = torch.Generator()
        fresh.seed()
        return torch.rand(tuple(shape), generator=fresh) * 2 - 1


class SeedBlind(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        import torch

        return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0)) * 2 - 1


class InPlace(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        moved = super().perturb(model, x, y, threat, aux, ctx)
        x += 0.0001
        return moved


class TrainsTheModel(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        model.weights().train()
        return super().perturb(model, x, y, threat, aux, ctx)


class GlobalRandomness(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        random.seed(ctx.seed)
        return super().noise(shape, ctx)


class Threads(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        import torch

        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().noise(shape, ctx)


class Settings(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        import numpy as np

        np.seterr(all="ignore")
        return super().noise(shape, ctx)


class GreyOnly(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        return super().noise((shape[0], shape[2], shape[3]), ctx).view(shape)


class SquareOnly(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        return super().noise((*shape[:3], shape[2]), ctx)


class ThirdClass(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        model.scores(x)[:, 3]
        return super().perturb(model, x, y, threat, aux, ctx)


class Squeezes(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        return super().perturb(model, x, y, threat, aux, ctx).squeeze(0)


class TooFar(Noise):
    def size(self, epsilon: float) -> float:
        return 2 * epsilon


class NeverZero(Noise):
    def size(self, epsilon: float) -> float:
        return epsilon or 0.1


class TooMany(Flips):
    def count(self, fraction: float | None, rows: int) -> int:
        return 2 * super().count(fraction, rows)


class NeverNone(Flips):
    def count(self, fraction: float | None, rows: int) -> int:
        return super().count(fraction or 0.1, rows)


class Insatiable(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        for _ in range(50):
            model.predict(x)
        return super().perturb(model, x, y, threat, aux, ctx)


class Burglar(Noise):
    """Finds the model behind the meter."""

    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        asks = next(cell.cell_contents for cell in model._answer.__closure__ if isinstance(cell.cell_contents, dict))
        asks[Access.DECISIONS].__self__.predict(x)
        return super().perturb(model, x, y, threat, aux, ctx)


class Picky(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        if threat.goal is Goal.TARGETED:
            raise NotImplementedError("targeted attacks come later")
        return super().perturb(model, x, y, threat, aux, ctx)


class Homebound(Noise):
    """Seeds itself with something that another process does not have."""

    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        import torch

        return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(ctx.seed + os.getpid())) * 2 - 1


class Slow(Noise):
    def noise(self, shape: Sequence[int], ctx: Any) -> Any:
        time.sleep(0.03 * shape[0])
        return super().noise(shape, ctx)


class OnTheCpu(Noise):
    def perturb(self, model: Any, x: Any, y: Any, threat: Any, aux: Any, ctx: Any) -> Any:
        return (x + self.noise(x.shape, ctx) * self.size(threat.epsilon)).clamp(0, 1)


def _noise(breaks: str, load: Any, **declared: Any) -> AttackSpec:
    return replace(GOOD, name=f"breaks-{breaks}", load=load, **declared)


def _flips(breaks: str, load: Any, **declared: Any) -> AttackSpec:
    return replace(GOOD_FLIPS, name=f"breaks-{breaks}", load=load, **declared)


BAD = (
    _noise("parameters-survive", Noise, params=Growing),
    _noise("unknown-parameters-refused", Noise, params=Lenient),
    _noise("explains-itself", Noise, params=Silent),
    _noise("reads-goal-and-norm", Noise, goals=(Goal.EVASION, Goal.TARGETED)),
    _noise("runs", Raises),
    _noise("declares-its-needs", AsksForScores),
    _noise("legal-answers", OutOfRange, reads=frozenset(), threat=ThreatModel()),
    _noise("same-seed-same-bytes", Fickle),
    _noise("another-seed-differs", SeedBlind),
    _noise("inputs-untouched", InPlace),
    _noise("model-untouched", TrainsTheModel, needs=frozenset({Access.WEIGHTS})),
    _noise("global-randomness-untouched", GlobalRandomness),
    _noise("threads-untouched", Threads),
    _noise("settings-untouched", Settings),
    _noise("three-channels", GreyOnly),
    _noise("odd-sizes", SquareOnly),
    _noise("two-classes", ThirdClass, needs=frozenset({Access.SCORES})),
    _noise("one-image", Squeezes),
    _noise("keeps-epsilon", TooFar),
    _noise("zero-epsilon-changes-nothing", NeverZero),
    _flips("keeps-the-poison-fraction", TooMany),
    _flips("keeps-labels", Flips, reads=frozenset({"poison_fraction", "label_changes"})),
    _flips("zero-fraction-poisons-nothing", NeverNone),
    _noise(
        "keeps-the-query-budget",
        Insatiable,
        needs=frozenset({Access.DECISIONS}),
        reads=frozenset({"epsilon", "query_budget"}),
    ),
    _noise("queries-are-metered", Burglar, needs=frozenset({Access.DECISIONS})),
    _noise("reads-what-it-uses", Noise, reads=frozenset(), threat=ThreatModel()),
    _noise("every-goal", Picky, goals=(Goal.EVASION, Goal.TARGETED), reads=frozenset({"epsilon", "goal"})),
    _noise("works-in-a-spawned-process", Homebound),
    _noise("stops-in-time", Slow),
    _noise("cuda-agrees", OnTheCpu),
)


@hookimpl
def sparring_attacks() -> Iterable[AttackSpec]:
    return (GOOD, GOOD_FLIPS, *BAD)
