"""One run of a plugin's acts in a scene, watched: what it answered, what it asked for, what it left changed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.testing.fingerprints import Answers, answers_of
from sparring.testing.scene import Scene
from sparring.testing.surroundings import Surroundings

INPUTS = "inputs"
MODEL = "the model"

if TYPE_CHECKING:
    from torch import Tensor, nn


class PluginRaised(Exception):
    """The plugin raised something; the cause is `__cause__`."""

    def __init__(self, error: BaseException, doing: str) -> None:
        super().__init__(f"{doing} raised {_where(error)}")
        self.error = error


@dataclass(eq=False)
class Performance:
    """What was seen of one run.

    Attributes:
        scene: where it ran.
        answers: everything that the plugin returned, as arrays by name.
        returned: the same as it was returned, by act.
        changed: what it left changed, in words, by group: "inputs", "the model", and those of `surroundings`.
        counted: rows that the harness's meter counted. passed: rows that really went through the model.
        seconds: that it took.
    """

    scene: Scene
    answers: Answers = field(default_factory=dict)
    returned: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    counted: int = 0
    passed: int = 0
    seconds: float = 0.0

    def keep(self, act: str, value: Any) -> Any:
        """Note what an act returned, and pass it on."""
        self.returned[act] = value
        self.answers |= answers_of(act, value)
        return value

    @contextmanager
    def acting(self, act: str) -> Iterator[None]:
        """What the plugin raises inside is its own doing."""
        try:
            yield
        except Exception as error:
            raise PluginRaised(error, act) from error


@contextmanager
def watched(scene: Scene) -> Iterator[tuple[Performance, Context]]:
    """A performance to fill in, and the context for it. Afterwards `changed`, `seconds` are known, and the process is
    as it was, whatever the plugin did to it. It runs with one torch thread, as in the harness: bytes depend on it."""
    import torch

    seen, threads = Performance(scene), torch.get_num_threads()
    torch.set_num_threads(1)
    before = Surroundings.now()
    scratch = Path(tempfile.mkdtemp(prefix="sparring-check-"))
    begun = time.monotonic()
    deadline = None if scene.seconds is None else begun + scene.seconds
    try:
        yield seen, Context(seed=scene.seed, device=scene.device, scratch=scratch, deadline=deadline)
        seen.seconds = time.monotonic() - begun
        seen.changed |= before.changed()
    finally:
        before.put_back()
        torch.set_num_threads(threads)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def unchanged(
    seen: Performance, group: str, **things: ArrayDataset | NDArray[Any] | Tensor | nn.Module
) -> Iterator[None]:
    """Whatever of `things` is not the same afterwards is noted under `group`."""
    before = {name: _look(thing) for name, thing in things.items()}
    yield
    for name, thing in things.items():
        if what := [part for part, value in _look(thing).items() if value != before[name].get(part)]:
            seen.changed.setdefault(group, []).append(f"{name.replace('_', ' ')} ({', '.join(what[:3])})")


def _look(thing: ArrayDataset | NDArray[Any] | Tensor | nn.Module) -> dict[str, Any]:
    import torch

    if isinstance(thing, ArrayDataset):
        return {"images": thing.pixels.tobytes(), "labels": thing.y.tobytes()}
    if isinstance(thing, np.ndarray):
        return {"values": thing.tobytes()}
    if isinstance(thing, torch.Tensor):
        return {"values": thing.detach().cpu().numpy().tobytes(), "requires_grad": thing.requires_grad}
    seen: dict[str, Any] = {f"mode of {name or 'the network'}": part.training for name, part in thing.named_modules()}
    seen |= {f"requires_grad of {name}": part.requires_grad for name, part in thing.named_parameters()}
    seen |= {f"grad of {name}": part.grad is None for name, part in thing.named_parameters()}
    seen |= {f"values of {name}": part.detach().cpu().numpy().tobytes() for name, part in thing.state_dict().items()}
    return seen


def _where(error: BaseException) -> str:
    """ "ValueError: what it says (file.py, line 12)": the last place in the plugin's own traceback."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
