"""Data sets that break one rule each. The text of this module is installed as a distribution of its own."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sparring.hookspecs import hookimpl
from sparring.plugin import DatasetSpec, param


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    classes: tuple[int, ...] = param((), "original labels that are kept; empty: all")
    limit_train: int = param(0, "training images at most; 0: all")
    limit_test: int = param(0, "test images at most; 0: all")


class Bars:
    """Not bad: noise with a bright row for each of eight classes."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def load(self, ctx: Any) -> Any:
        params = self.params
        return self.part(ctx, "train", 240, params.limit_train), self.part(ctx, "test", 80, params.limit_test)

    def part(self, ctx: Any, name: str, count: int, limit: int) -> Any:
        from sparring.data import ArrayDataset

        x, y = self.images(ctx, name, count)
        kept = self.params.classes or tuple(range(8))
        rows = [row for row, label in enumerate(y) if label in kept]
        rows = rows[: self.limit(limit)] if limit else rows
        return ArrayDataset(x[rows], self.labels(y[rows], kept), self.names(name, kept))

    def images(self, ctx: Any, name: str, count: int) -> Any:
        import numpy as np

        y = np.arange(count) % 8
        x = np.random.default_rng([self.seed(ctx), len(name)]).integers(0, 100, (count, 1, 8, 8), dtype=np.uint8)
        x[np.arange(count), 0, y] += 150
        return x, y

    def seed(self, ctx: Any) -> int:
        return 0

    def limit(self, limit: int) -> int:
        return limit

    def labels(self, y: Any, kept: tuple[int, ...]) -> Any:
        import numpy as np

        return np.array([kept.index(label) for label in y], dtype=np.int64)

    def names(self, name: str, kept: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(f"row {label}" for label in kept)


GOOD = DatasetSpec(name="good-bars", summary="Bright rows.", params=Subset, load=Bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing(Subset):
    width: int = param(3, "width")

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.width + 1)


@dataclass(frozen=True, kw_only=True, init=False)
class Lenient(Subset):
    def __init__(self, **settings: Any) -> None:
        for name, default in (("classes", ()), ("limit_train", 0), ("limit_test", 0)):
            object.__setattr__(self, name, settings.get(name, default))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent(Subset):
    width: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NoClasses:
    limit_train: int = param(0, "training images at most; 0: all")
    limit_test: int = param(0, "test images at most; 0: all")

    @property
    def classes(self) -> tuple[int, ...]:
        return ()


class Raises(Bars):
    def load(self, ctx: Any) -> Any:
        raise ValueError("nothing works")


class Triple(Bars):
    def load(self, ctx: Any) -> Any:
        train, test = super().load(ctx)
        return train, test, test


class Fickle(Bars):
    def seed(self, ctx: Any) -> int:
        return int.from_bytes(os.urandom(4))


class Seeded(Bars):
    """Another seed, other images; it does not say so."""

    def seed(self, ctx: Any) -> int:
        return int(ctx.seed)


class GlobalRandomness(Bars):
    def seed(self, ctx: Any) -> int:
        random.seed(0)
        return 0


class Threads(Bars):
    def seed(self, ctx: Any) -> int:
        import torch

        torch.set_num_threads(torch.get_num_threads() + 1)
        return 0


class Settings(Bars):
    def seed(self, ctx: Any) -> int:
        os.chdir(ctx.scratch)
        return 0


class NoLimit(Bars):
    def limit(self, limit: int) -> int:
        return 10 * limit


class AlwaysAllClasses(Bars):
    def part(self, ctx: Any, name: str, count: int, limit: int) -> Any:
        return Bars(replace(self.params, classes=())).part(ctx, name, count, limit)


class SortedClasses(Bars):
    """The classes asked for, in another order."""

    def labels(self, y: Any, kept: tuple[int, ...]) -> Any:
        return super().labels(y, tuple(sorted(kept)))


class OtherNames(Bars):
    def names(self, name: str, kept: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(f"{name} row {label}" for label in kept)


class NoFifth(Bars):
    """A class without test images."""

    def images(self, ctx: Any, name: str, count: int) -> Any:
        x, y = super().images(ctx, name, count)
        few = y != 5
        return (x[few], y[few]) if name == "test" else (x, y)


class Leaks(Bars):
    def images(self, ctx: Any, name: str, count: int) -> Any:
        x, y = super().images(ctx, name, count)
        if name == "test":
            x[:8] = super().images(ctx, "train", 240)[0][:8]
        return x, y


class LooksForFiles(Bars):
    def load(self, ctx: Any) -> Any:
        if "sparring-check-" in os.environ.get("SPARRING_DATA", ""):
            raise FileNotFoundError("bars.npz")
        return super().load(ctx)


class Curt(Bars):
    """Says what is missing, but not where it looked."""

    def load(self, ctx: Any) -> Any:
        from sparring.contracts import DatasetUnavailable

        if "sparring-check-" in os.environ.get("SPARRING_DATA", ""):
            raise DatasetUnavailable("some files are missing")
        return super().load(ctx)


class Absent(Bars):
    """Not bad: its files are nowhere."""

    def load(self, ctx: Any) -> Any:
        from urllib.request import urlopen

        from sparring.contracts import DatasetUnavailable

        folder = os.environ.get("SPARRING_DATA", "nowhere")
        try:
            urlopen("http://127.0.0.1:9/absent.npz", timeout=1)
        except OSError as refused:
            raise DatasetUnavailable(f"data set absent: not in {folder} (SPARRING_DATA): {refused}") from refused


ABSENT = replace(GOOD, name="absent", load=Absent)


class Homebound(Bars):
    def seed(self, ctx: Any) -> int:
        return os.getpid()


def _dataset(check: str, load: Any, *, how: str = "", **declared: Any) -> tuple[str, DatasetSpec]:
    """The check that it breaks, and the data set."""
    return check, replace(GOOD, name=f"breaks-{check}{how and '-by-'}{how}", load=load, **declared)


BAD = (
    _dataset("parameters-survive", Bars, params=Growing),
    _dataset("unknown-parameters-refused", Bars, params=Lenient),
    _dataset("explains-itself", Bars, params=Silent),
    _dataset("runs", Raises),
    _dataset("legal-answers", Triple),
    _dataset("same-seed-same-bytes", Fickle),
    _dataset("another-seed-differs", Seeded),
    _dataset("another-seed-differs", Bars, how="saying-so", randomised=True),
    _dataset("global-randomness-untouched", GlobalRandomness),
    _dataset("threads-untouched", Threads),
    _dataset("settings-untouched", Settings),
    _dataset("takes-classes-and-limits", Bars, params=NoClasses),
    _dataset("heeds-limits", NoLimit),
    _dataset("heeds-classes", AlwaysAllClasses),
    _dataset("heeds-classes", SortedClasses, how="sorting"),
    _dataset("parts-agree", OtherNames),
    _dataset("every-class-occurs", NoFifth),
    _dataset("parts-are-disjoint", Leaks),
    _dataset("names-missing-files", LooksForFiles),
    _dataset("names-missing-files", Curt, how="curtness"),
    _dataset("works-in-a-spawned-process", Homebound),
)


@hookimpl
def sparring_datasets() -> Iterable[DatasetSpec]:
    return (GOOD, ABSENT, *(spec for _, spec in BAD))
