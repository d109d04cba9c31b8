"""What a stage function works with: artifacts of earlier stages as data sets and models, and loaded plugins.

One workshop serves one worker process. What was read last is kept in memory, so that stages which follow each other on
the same data and model do not read them again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sparring.contracts import Context, Finding, Sanitised
from sparring.data import ArrayDataset, Arrays, IntArray, Poisoned
from sparring.plugin import Kind
from sparring.stage import RuleBroken, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.catalogue import Catalogue
    from sparring.model import Model
    from sparring.store import Artifact, Store

T = TypeVar("T")

KEPT = {"artifact": 32, "data": 4, "training": 1, "model": 8, "features": 2}
"""How many of each a process keeps in memory. Artifacts and data are memory-mapped; a poisoned training set is not."""


@dataclass(frozen=True, eq=False)
class Data:
    """What the load stage left: the training set cut in three, and the test set."""

    fit: ArrayDataset
    test: ArrayDataset
    attacker_val: ArrayDataset | None
    defender_clean: ArrayDataset | None


class Workshop:
    """Reads what stages need, by role.

    Args:
        store: where artifacts lie.
        catalogue: where plugins come from.
        device: of this process.
    """

    def __init__(self, store: Store, catalogue: Catalogue, device: str) -> None:
        self.store = store
        self.catalogue = catalogue
        self.device = device
        self._kept: dict[str, OrderedDict[tuple[str, ...], Any]] = {kind: OrderedDict() for kind in KEPT}

    def plugin(self, stage: Stage, role: str) -> Any:
        """The loaded plugin of a role."""
        plugged = stage.plugins[role]
        return self.catalogue.load(plugged.kind, plugged.selection)

    def name(self, stage: Stage, role: str) -> str:
        """For messages: "attack pgd"."""
        plugged = stage.plugins[role]
        return f"{plugged.kind} {plugged.selection.name}"

    def artifact(self, stage: Stage, role: str) -> Artifact:
        key = stage.inputs[role]
        return self._keep(("artifact", key), lambda: self.store.load(key))

    def data(self, stage: Stage) -> Data:
        key = stage.inputs["data"]
        return self._keep(("data", key), lambda: _read_data(self.artifact(stage, "data")))

    def poisoned(self, stage: Stage, trial: int = 0) -> Poisoned | None:
        """The delta of a trial; `None` when nothing was poisoned."""
        if "poison" not in stage.inputs:
            return None
        arrays = self.artifact(stage, "poison").arrays
        part = under(arrays, f"trial/{trial}")
        return Poisoned(
            rows=part["rows"],
            x=part["x"],
            y=part["y"],
            state=under(part, "state"),
        )

    def sanitised(self, stage: Stage) -> Sanitised | None:
        if "sanitise" not in stage.inputs:
            return None
        arrays = self.artifact(stage, "sanitise").arrays
        return Sanitised(
            keep=arrays["keep"],
            y=arrays.get("y"),
        )

    def training_set(self, stage: Stage, trial: int = 0) -> ArrayDataset:
        """What the victim is trained on: poisoned, then sanitised."""
        keys = tuple(stage.inputs.get(role, "") for role in ("data", "poison", "sanitise"))
        return self._keep(("training", *keys, str(trial)), lambda: self._training_set(stage, trial))

    def _training_set(self, stage: Stage, trial: int) -> ArrayDataset:
        train = self.data(stage).fit
        delta, verdict = self.poisoned(stage, trial), self.sanitised(stage)
        if delta is not None:
            train = train.with_delta(delta)
        if verdict is not None:
            train = train if verdict.y is None else train.relabelled(verdict.y)
            train = train.rows(verdict.keep)
        return train

    def training_labels(self, stage: Stage, trial: int = 0) -> IntArray:
        """The labels of `training_set`, without its images."""
        y = self.data(stage).fit.y
        delta, verdict = self.poisoned(stage, trial), self.sanitised(stage)
        if delta is not None:
            y = y.copy()
            y[delta.rows] = delta.y
        if verdict is not None:
            y = (y if verdict.y is None else verdict.y)[verdict.keep]
        return y

    def finding(self, stage: Stage) -> Finding | None:
        if "finding" not in stage.inputs:
            return None
        artifact = self.artifact(stage, "finding")
        found = artifact.meta["finding"]
        return Finding(
            accused=bool(found["accused"]),
            score=float(found["score"]),
            labels=tuple(found["labels"]),
            arrays=artifact.arrays,
        )

    def model(self, stage: Stage, role: str, ctx: Context, victim: str = "victim") -> Model:
        """The model whose arrays an input stage left, made again by its victim (or the defence that trained it)."""
        trainer = "trainer" if victim == "victim" and "trainer" in stage.plugins else ""
        made_by = str(stage.plugins[trainer or victim].selection)
        key = ("model", stage.inputs[role], made_by)
        kept: Model = self._keep(key, lambda: self._restored(stage, role, ctx, victim, trainer))
        return kept

    def own_model(self, stage: Stage, role: str, ctx: Context, victim: str = "victim") -> Model:
        """As `model`, for this stage alone: a plugin that is handed a network may change it."""
        trainer = "trainer" if victim == "victim" and "trainer" in stage.plugins else ""
        own: Model = self._restored(stage, role, ctx, victim, trainer)
        return own

    def _restored(self, stage: Stage, role: str, ctx: Context, victim: str, trainer: str) -> Any:
        state = self.artifact(stage, role).arrays
        maker = self.plugin(stage, victim)
        made = self.plugin(stage, trainer).restore(maker, state, ctx) if trainer else maker.restore(state, ctx)
        return moved(made, self.device)

    def features(self, stage: Stage, ctx: Context) -> Model:
        """The frozen features of a pretrained victim."""
        key = ("features", stage.inputs["features"])

        def restore() -> Any:
            return self.plugin(stage, "victim").restore_features(self.artifact(stage, "features").arrays, ctx)

        kept: Model = self._keep(key, lambda: moved(restore(), self.device))
        return kept

    def surrogates(self, stage: Stage, ctx: Context) -> dict[str, Model]:
        """Fitted surrogates by the name of the attack's param."""
        roles = [role for role in stage.inputs if role.startswith("surrogate.")]
        return {role.partition(".")[2]: self.own_model(stage, role, ctx, victim=role) for role in roles}

    def attacks(self, stage: Stage) -> dict[str, Any]:
        """Loaded attacks that the attack builds on, by the name of its param."""
        roles = [role for role in stage.plugins if role.startswith("attack.")]
        return {role.partition(".")[2]: self.plugin(stage, role) for role in roles}

    def metrics(self, stage: Stage) -> dict[str, Any]:
        plugged = {role.partition(".")[2]: p for role, p in stage.plugins.items() if p.kind == Kind.METRIC}
        return {name: self.catalogue.load(p.kind, p.selection) for name, p in plugged.items()}

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """A copy of `array` on this process's device."""
        import torch

        return torch.from_numpy(np.array(array)).to(self.device)

    def forget(self) -> None:
        """Keep nothing in memory: what a failed plugin may have written to is read again from the store."""
        for kept in self._kept.values():
            kept.clear()

    def _keep(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        kept = self._kept[key[0]]
        if key not in kept:
            kept[key] = make()
            while len(kept) > KEPT[key[0]]:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return cast(T, kept[key])


def under(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names start with `prefix/`, without it."""
    start = prefix + "/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def moved(model: Any, device: str) -> Any:
    """`model` with its network, where it has one, on `device`."""
    network = getattr(model, "network", None)
    if network is not None:
        network.to(device)
    return model


def _read_data(artifact: Artifact) -> Data:
    names = tuple(artifact.meta["class_names"])

    def part(name: str) -> ArrayDataset | None:
        if f"{name}/x" not in artifact.arrays:
            return None
        return ArrayDataset(artifact.arrays[f"{name}/x"], artifact.arrays[f"{name}/y"], names)

    fit, test = part("fit"), part("test")
    if fit is None or test is None:
        raise RuleBroken("the data set has no training or no test images left")
    return Data(fit=fit, test=test, attacker_val=part("attacker_val"), defender_clean=part("defender_clean"))
