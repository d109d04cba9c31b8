"""What a plugin must leave as it found it: everything in the process that does not belong to it."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

GLOBAL_RANDOMNESS = "global randomness"
THREADS = "threads"
SETTINGS = "global settings"
ENVIRONMENT = "os.environ"


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A snapshot of the process, in the three groups above; each thing by its name."""

    found: Mapping[str, Mapping[str, Any]]

    @classmethod
    def now(cls) -> Surroundings:
        randomness = {
            "random": random.getstate(),
            "numpy.random": _numpy_state(),
            "torch": torch.get_rng_state().numpy().tobytes(),
        }
        settings = {
            "torch.is_grad_enabled()": torch.is_grad_enabled(),
            "torch.get_default_dtype()": torch.get_default_dtype(),
            "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
            "numpy.geterr()": np.geterr(),
            "the working directory": Path.cwd(),
            ENVIRONMENT: dict(os.environ),
        }
        return cls(
            {
                GLOBAL_RANDOMNESS: randomness,
                THREADS: {"torch.get_num_threads()": torch.get_num_threads()},
                SETTINGS: settings,
            }
        )

    def changed(self) -> dict[str, list[str]]:
        """By group, what is not as it was, in words."""
        now = Surroundings.now().found
        for name in now[SETTINGS][ENVIRONMENT].keys() - self.found[SETTINGS][ENVIRONMENT].keys():
            del now[SETTINGS][ENVIRONMENT][name]  # importing a library may set variables; torch does
        return {
            group: [
                _told(name, before, now[group][name]) for name, before in things.items() if before != now[group][name]
            ]
            for group, things in self.found.items()
        }

    def put_back(self) -> None:
        """Make everything as it was, so that the next plugin does not suffer."""
        randomness, settings = self.found[GLOBAL_RANDOMNESS], self.found[SETTINGS]
        random.setstate(randomness["random"])
        kind, words, *rest = randomness["numpy.random"]
        np.random.set_state((kind, np.frombuffer(words, np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(torch.frombuffer(bytearray(randomness["torch"]), dtype=torch.uint8))
        torch.set_num_threads(self.found[THREADS]["torch.get_num_threads()"])
        torch.set_grad_enabled(settings["torch.is_grad_enabled()"])
        torch.set_default_dtype(settings["torch.get_default_dtype()"])
        torch.use_deterministic_algorithms(settings["torch.are_deterministic_algorithms_enabled()"])
        np.seterr(**settings["numpy.geterr()"])
        os.chdir(settings["the working directory"])
        os.environ.update(settings[ENVIRONMENT])


def _numpy_state() -> tuple[Any, ...]:
    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return (kind, words.tobytes(), *rest)  # type: ignore[union-attr]


def _told(name: str, before: Any, after: Any) -> str:
    """The change in words, where both values are short enough to be read."""
    if isinstance(before, Mapping):
        keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return f"{name}: {', '.join(map(str, keys))}"
    return f"{name}: {before} became {after}" if len(f"{before}{after}") < 120 else name
