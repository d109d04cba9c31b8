"""What loaded plugins do: the protocols, and the context that a stage is given.

A plugin implements the methods that its spec's `acts` name, and no others are called. Images are float32 in [0, 1],
(N, C, H, W); labels are int64. `ArrayDataset` and `Poisoned` hold numpy arrays, models and `perturb` take torch
tensors on `ctx.device`. Inputs are never changed in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sparring.model import Guard, MeteredModel, Model
    from sparring.threat import ThreatModel
    from sparring.training import Recipe


class DeadlineExceeded(RuntimeError):
    """Raised by `Context.progress` when the stage's time is up."""


class Checkpoints(Protocol):
    """Where a stage's checkpoints go; the newest one only is kept."""

    def write(self, arrays: Arrays) -> None: ...

    def read(self) -> Arrays | None: ...


@dataclass(eq=False)
class Context:
    """What a stage is given.

    Attributes:
        seed: of this stage; the generators below start from it.
        device: "cpu" or "cuda:0".
        scratch: an empty folder for temporary files, removed after the stage.
        deadline: `time.monotonic()` value after which the stage is stopped; `None`: no limit.
        report: where `progress` goes.
        checkpoints: where `checkpoint` goes; `None`: nowhere.
        threads: torch threads of this process.
        curves: what `curve` was told, by name: points in order.
    """

    seed: int
    device: str
    scratch: Path
    deadline: float | None = None
    report: Callable[[int, int, str], None] | None = None
    checkpoints: Checkpoints | None = None
    threads: int = 1
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _rng: np.random.Generator | None = field(default=None, repr=False)
    _generator: torch.Generator | None = field(default=None, repr=False)

    @property
    def rng(self) -> np.random.Generator:
        """The stage's numpy generator."""
        if self._rng is None:
            self._rng = np.random.default_rng(self.seed)
        return self._rng

    @property
    def generator(self) -> torch.Generator:
        """The stage's torch generator, on the CPU, so that every device draws the same numbers."""
        if self._generator is None:
            import torch

            self._generator = torch.Generator().manual_seed(self.seed)
        return self._generator

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far the stage is. Call it once an epoch, generation or batch.

        Raises:
            DeadlineExceeded: the stage's time is up.
        """
        if self.report is not None:
            self.report(done, total, note)
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded(f"stopped at {done} of {total}")

    def curve(self, name: str, x: float, y: float) -> None:
        """Add a point to a learning curve that may be kept with the record: "training error" over epochs, say."""
        self.curves.setdefault(name, []).append((float(x), float(y)))

    def checkpoint(self, state: Arrays) -> None:
        """Keep `state`, the curves and the state of both generators, so that a killed stage can go on from here."""
        if self.checkpoints is None:
            return
        numpy_state = np.frombuffer(_json_bytes(self.rng.bit_generator.state), dtype=np.uint8)
        torch_state = self.generator.get_state().numpy()
        curves = np.frombuffer(_json_bytes(self.curves), dtype=np.uint8)
        own = {"ctx/numpy": numpy_state, "ctx/torch": torch_state, "ctx/curves": curves}
        self.checkpoints.write({**state, **own})

    def resume(self) -> Arrays | None:
        """The last checkpointed state, with generators and curves set back to it; `None` when there is none."""
        found = None if self.checkpoints is None else self.checkpoints.read()
        if found is None:
            return None
        import torch

        self.rng.bit_generator.state = _from_json_bytes(found["ctx/numpy"].tobytes())
        self.generator.set_state(torch.from_numpy(np.array(found["ctx/torch"])))
        curves = _from_json_bytes(found["ctx/curves"].tobytes())
        self.curves = {name: [(x, y) for x, y in points] for name, points in curves.items()}
        return {k: v for k, v in found.items() if not k.startswith("ctx/")}


def _json_bytes(value: Any) -> bytes:
    import json

    return json.dumps(value, default=lambda array: array.tolist()).encode()


def _from_json_bytes(data: bytes) -> Any:
    import json

    return json.loads(data)


@dataclass(frozen=True, eq=False)
class Aux:
    """What an attack or a defence declared that it needs beside its main input.

    Attributes:
        surrogates: fitted models of the victims that `AttackSpec.surrogates` names, by param.
        attacks: loaded attacks that `AttackSpec.plugins` names, by param.
        features: the (defended) pretrained features of a frozen-feature victim; for attacks that need `FEATURES`.
        attacker_val: clean rows cut from the training set for the attacker; `None` when the suite cuts none.
        defender_clean: clean rows cut from the training set for the defender.
        train: the clean training set, for attacks at inference that need `TRAINING_DATA`.
        goal_labels: (N,) int64 tensor: the labels a targeted evasion attack shall reach.
        poisoned: (N,) bool: the truth about the training rows, for those that need `ORACLE`.
    """

    surrogates: Mapping[str, Model] = field(default_factory=dict)
    attacks: Mapping[str, Any] = field(default_factory=dict)
    features: Model | None = None
    attacker_val: ArrayDataset | None = None
    defender_clean: ArrayDataset | None = None
    train: ArrayDataset | None = None
    goal_labels: Tensor | None = None
    poisoned: np.ndarray[Any, np.dtype[np.bool_]] | None = None


class DatasetUnavailable(RuntimeError):
    """The files of a data set cannot be had; the message names the data set, the folder and the variable."""


class Dataset(Protocol):
    """Every data set's params have `classes: tuple[int, ...]`, `limit_train: int` and `limit_test: int`; those of
    `sparring.subset.SubsetParams` do, and `subset` applies them."""

    def load(self, ctx: Context) -> tuple[ArrayDataset, ArrayDataset]:
        """(train, test). Raises `DatasetUnavailable`."""
        ...


class Victim(Protocol):
    """`Act.FIT`. A victim that offers `RECIPE` follows `recipe` to the letter."""

    def recipe(self) -> Recipe:
        """How it is trained unless a defence says otherwise."""
        ...

    def fit(self, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        """A new model. It depends on the arguments alone: what is random comes from `ctx.rng` or `ctx.generator`."""
        ...

    def restore(self, state: Arrays, ctx: Context) -> Model:
        """The model whose `state()` this is."""
        ...


class FrozenFeatureVictim(Protocol):
    """`Act.PRETRAIN`. `recipe` is that of the pretraining; defences act on it."""

    def recipe(self) -> Recipe: ...

    def pretrain(self, external: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        """A model whose `features` the head is fitted on."""
        ...

    def restore_features(self, state: Arrays, ctx: Context) -> Model: ...

    def fit_head(self, features: Model, train: ArrayDataset, ctx: Context) -> Model: ...

    def restore(self, state: Arrays, ctx: Context) -> Model: ...


Update = dict[str, "Tensor"]
"""What a client sends in a federated round: its change of each named parameter."""

Corrupt = Callable[[Update, int, int], Update]
"""(update, client, round) -> update, as the harness hands it to `fit_rounds`; honest clients pass unchanged."""


class FederatedVictim(Protocol):
    """`Act.FIT_ROUNDS`. The harness makes the clients, and says which are the attacker's."""

    clients: int

    def recipe(self) -> Recipe: ...

    def fit_rounds(self, clients: Sequence[ArrayDataset], recipe: Recipe, corrupt: Corrupt, ctx: Context) -> Model: ...

    def restore(self, state: Arrays, ctx: Context) -> Model: ...


class PoisonAttack(Protocol):
    """`Act.POISON`."""

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """One entry per trial: one in all, or, for targeted goals, one per target in the order of `targets`."""
        ...


class TriggerAttack(PoisonAttack, Protocol):
    """`Act.TRIGGER`, with `Act.POISON` or `Act.CORRUPT`. The harness never triggers images of the target class."""

    def trigger(self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context) -> FloatArray:
        """(N, C, H, W) images with the trigger on them."""
        ...

    def target_of(self, y: IntArray) -> IntArray:
        """(N,) the label that the attacker wants for triggered images of the classes `y`."""
        ...


class ProbingAttack(PoisonAttack, Protocol):
    """`Act.PROBES`."""

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        """Further inputs that the poisoned model is evaluated on, with labels, by name (noise only, say)."""
        ...


class EvasionAttack(Protocol):
    """`Act.PERTURB`."""

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        """(N, C, H, W) adversarial images. An attack without model access gets a model that refuses everything."""
        ...


class CorruptAttack(Protocol):
    """`Act.CORRUPT`: what a malicious client of a federated victim sends.

    The poison fraction is the share of malicious clients. With `POISON`, the poisoned rows lie with these clients,
    which train on them honestly before `corrupt` sees their update.
    """

    def corrupt(self, update: Update, client: int, round_: int, state: Arrays, ctx: Context) -> Update: ...


@dataclass(frozen=True, eq=False)
class Sanitised:
    """What `sanitise` says of N training rows.

    Attributes:
        keep: (N,) bool.
        y: (N,) int64, labels after relabelling; `None`: unchanged.
    """

    keep: np.ndarray[Any, np.dtype[np.bool_]]
    y: IntArray | None = None


class Sanitiser(Protocol):
    """`Act.SANITISE`."""

    def sanitise(self, train: ArrayDataset, aux: Aux, ctx: Context) -> Sanitised:
        """Which rows of the (poisoned) training set are kept, and their labels."""
        ...


class Reinforcer(Protocol):
    """`Act.REINFORCE`: another recipe. It acts on the pretraining where the victim has one."""

    def reinforce(self, recipe: Recipe) -> Recipe: ...


class TrainingDefence(Protocol):
    """`Act.OWN_FIT`: owns the training, votes over partitions say."""

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model: ...

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model: ...


@dataclass(frozen=True, eq=False)
class Finding:
    """What an inspection says of a model.

    Attributes:
        accused: whether the model is called poisoned.
        score: the statistic behind that; higher is more suspicious.
        labels: target labels it names.
        arrays: reconstructed triggers and the like.
    """

    accused: bool
    score: float
    labels: tuple[int, ...] = ()
    arrays: Arrays = field(default_factory=dict)


class Inspector(Protocol):
    """`Act.INSPECT`."""

    def inspect(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Finding:
        """Whether the fitted model is called poisoned. `defender_clean` holds as many clean rows as the suite cuts."""
        ...


class Repairer(Protocol):
    """`Act.REPAIR`. The result has the victim's own form: `Victim.restore(result.state())` makes it again."""

    def repair(self, model: Model, defender_clean: ArrayDataset, finding: Finding | None, ctx: Context) -> Model: ...


class Guardian(Protocol):
    """`Act.GUARD`. `ctx.generator` is the source of a randomised guard's randomness."""

    def guard(self, model: Model, ctx: Context) -> Guard:
        """What answers in the place of `model`; mostly `Guard(TransformedModel(model, transform, backward))`.

        Oblivious attacks follow `model`; adaptive ones the guard, with its `backward` for gradients.
        """
        ...


class Detector(Protocol):
    """`Act.DETECT`. The harness sets the threshold, at a stated false-positive rate on clean data."""

    def calibrate(self, model: Model, defender_clean: ArrayDataset, ctx: Context) -> Arrays:
        """What `score` wants to know, learnt from clean rows."""
        ...

    def score(self, model: Model, x: Tensor, state: Arrays, ctx: Context) -> Tensor:
        """(N,) higher is more suspicious."""
        ...


@dataclass(frozen=True, eq=False)
class Certificate:
    """What `certify` says of N inputs.

    Attributes:
        prediction: (N,) int64; -1 abstains.
        radius: (N,) float64, 0 where nothing is certified.
        unit: what the radius is measured in: "l2", "linf", "rows" of the training set.
        confidence: probability with which each radius holds; 1.0 for deterministic bounds.
    """

    prediction: IntArray
    radius: np.ndarray[Any, np.dtype[np.float64]]
    unit: str
    confidence: float = 1.0


class Certifier(Protocol):
    """`Act.CERTIFY`."""

    def certify(self, model: Model, x: Tensor, ctx: Context) -> Certificate:
        """For each of the (N, C, H, W) images, an answer and the radius within which it is proven to stay."""
        ...


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the harness saw of one cell; all that a metric may look at. Arrays that do not apply are `None`.

    Attributes:
        classes: K.
        threat: the cell's threat model.
        y_test, clean_prediction: (T,) the whole test set and the defended, attacked-at-training model's answers.
        twin_prediction: (T,) answers of the paired model trained without the attack.
        y_train, train_prediction: (M,) the training set as it was fitted (poison included), and the answers on it.
        sample: (N,) rows of the test set that were attacked at inference or triggered.
        y, clean, attacked: (N,) their true labels, and the answers before and after.
        goal: (N,) labels the attacker wants; -1 where any wrong answer will do.
        flagged, clean_flagged: (N,), (T,) bool: inputs that a detector rejects.
        suspicion, clean_suspicion: (N,), (T,) float: the detector's scores.
        poisoned, kept: (M,) bool: the truth about the rows, and what a sanitiser kept.
        certificate, certified_y: of the clean inputs that were certified, and their true labels.
        trials: (succeeded, all) of a targeted poisoning attack.
        probes: by name, (labels, answers).
        scalars: measured by the judge: distortions, fractions, queries.
    """

    classes: int
    threat: ThreatModel
    y_test: IntArray
    clean_prediction: IntArray
    twin_prediction: IntArray | None = None
    y_train: IntArray | None = None
    train_prediction: IntArray | None = None
    sample: IntArray | None = None
    y: IntArray | None = None
    clean: IntArray | None = None
    attacked: IntArray | None = None
    goal: IntArray | None = None
    flagged: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    clean_flagged: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    suspicion: np.ndarray[Any, np.dtype[np.float64]] | None = None
    clean_suspicion: np.ndarray[Any, np.dtype[np.float64]] | None = None
    poisoned: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    kept: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    certificate: Certificate | None = None
    certified_y: IntArray | None = None
    trials: tuple[int, int] | None = None
    probes: Mapping[str, tuple[IntArray, IntArray]] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)


class Metric(Protocol):
    """A number about a cell; `None` where it does not apply."""

    def measure(self, evidence: Evidence) -> float | None: ...
