"""DeepConfuse: a network makes noise for the training images, so that who learns from them errs on clean ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.stored_file import StoredFile
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring.training import Schedule
from sparring_attacks.balls import project
from sparring_attacks.confuse_settings import Algorithm, Keep, Preset, Settings, Variant, values_of
from sparring_attacks.found_earlier import found_earlier
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets

DEFAULT_EPSILON, DEFAULT_FRACTION = 0.3, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    variant: Variant = param(Variant.UNTARGETED, "whether clean images shall be taken for any wrong class or for y + 1")
    algorithm: Algorithm = param(
        Algorithm.MEMORY_EFFICIENT,
        "stored (algorithm 1) keeps the classifier's trajectory, memory-efficient (2) does not",
    )
    generator: tuple[StoredFile, ...] = param(
        (),
        "trained earlier: files of a run that kept its states, one for all seeds or one for each; then none is trained",
    )
    preset: Preset = param(Preset.QUICK, "what stands for every parameter below that is null")
    warm_up: int | None = param(
        None, "steps in which the generator learns to mislead clean classifiers, before the trials", at_least=0
    )
    trials: int | None = param(None, "classifiers that are trained from scratch", at_least=0)
    pool: int | None = param(None, "rows that one of them is trained on; 0: all", at_least=0, unit="rows")
    passes: float | None = param(None, "of one classifier over its rows", above=0)
    generator_every: int | None = param(None, "steps of the classifier for each of the generator", at_least=1)
    classifier_rate: float | None = param(None, "step size of the classifier's SGD", above=0)
    momentum: float | None = param(None, "of the classifier's SGD", at_least=0, below=1)
    pseudo_rate: float | None = param(None, "length of the step that the generator looks ahead", above=0)
    generator_rate: float | None = param(None, "step size of the generator's Adam", above=0)
    schedule: Schedule | None = param(None, "of the generator's step size, over all trials")
    equal_steps: bool | None = param(None, "scale every gradient of the generator to length 1")
    batch_size: int | None = param(None, "images per step", at_least=1)
    channels: tuple[int, ...] | None = param(None, "of the classifier's convolutions", at_least=1)
    fc: int | None = param(None, "width of the classifier's fully connected layer; 0: none", at_least=0)
    batch_norm: bool | None = param(None, "batch normalisation in the classifier")
    widths: tuple[int, ...] | None = param(None, "channels of the generator's encoders, from the outside", at_least=1)
    keep: Keep | None = param(None, "the generator of the last trial, or the one that did most harm")


class DeepConfuse:
    """x + ε tanh(g(x)), clipped to [0, 1], labels unchanged; g trained against imaginary victims (Feng, Cai, Zhou 2019,
    algorithms 1 and 2, section 4).

    `paper` is section 5 as published: 500 trials of one pass each over all rows, the paper's classifier, SGD 0.01 and
    Adam 1e-4. With batch normalisation in the classifier or without: the paper does not say, the published code has it.
    `quick` is ours: see `confuse_settings`.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Trains a generator on all rows, or takes a stored one; then perturbs a fraction of the rows.

        Raises:
            ValueError: there is nothing to train on, or the stored generator is one for other images.
            StoredFileChanged: a file cannot be read.
        """
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        if self.params.generator:
            found = found_earlier(self.params.generator, ctx.seed)
        else:
            found = self.trained(train, epsilon, aux, ctx)
        return [poison_with(found, train, epsilon, fraction, ctx)]

    def trained(self, train: ArrayDataset, epsilon: float, aux: Aux, ctx: Context) -> Arrays:
        """A new generator as arrays: `generator/...`, and the `history` of its training with the entry `kept`; see
        `confuse_training.Trained`."""
        import numpy as np

        from sparring_attacks.confuse_noise import network_arrays
        from sparring_attacks.confuse_training import train_generator

        settings = self.settings(train.image_shape[0], len(train))
        trained = train_generator(train, aux.attacker_val, epsilon, settings, ctx)
        weights = {f"generator/{name}": array for name, array in network_arrays(trained.generator).items()}
        return {**weights, "history": trained.history, "kept": np.array(trained.kept)}

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        """What the victim learnt instead: `poisoned`, images with their noise; `noise-only` (section 5.3), the noise
        alone on black, where nothing is left of what would darken, and `noise-on-grey`, around one half; and `shifted`,
        clean images labelled y + 1 mod K, the accuracy on which is the success of the label-specific variant."""
        import numpy as np

        from sparring_attacks.confuse_noise import noise_on, restored_generator, under

        generator = restored_generator(x.shape[1:], under("generator/", state), ctx)
        noise = noise_on(x, generator, float(state["epsilon"]), ctx)
        return {
            "poisoned": (np.clip(x + noise, 0, 1), y),
            "noise-only": (np.clip(noise, 0, 1), y),
            "noise-on-grey": (np.clip(0.5 + noise, 0, 1), y),
            "shifted": (x, (y + 1) % int(state["classes"])),
        }

    def settings(self, image_channels: int, rows: int) -> Settings:
        """The preset for so many such images, and what the parameters put in its place."""
        values = values_of(self.params.preset, image_channels, rows)
        stated = {name: getattr(self.params, name) for name in values}
        values |= {name: value for name, value in stated.items() if value is not None}
        return Settings(variant=self.params.variant, algorithm=self.params.algorithm, **values)


def poison_with(found: Arrays, train: ArrayDataset, epsilon: float, fraction: float, ctx: Context) -> Poisoned:
    """A fraction of the rows, drawn uniformly, with the noise of the generator in `found`; labels unchanged.

    Raises:
        ValueError: it is no generator, or one for other images.
    """
    import numpy as np
    import torch

    from sparring.data import Poisoned
    from sparring_attacks.confuse_noise import noise_on, restored_generator, under

    generator = restored_generator(train.image_shape, under("generator/", found), ctx)
    rows = draw_rows(np.arange(len(train)), len(train), fraction, ctx.rng)
    images = train.rows(rows)
    x = torch.tensor(images.x)
    noise = torch.from_numpy(noise_on(images.x, generator, epsilon, ctx))
    poisoned = project(x + noise, x, Norm.LINF, epsilon).numpy()
    state = {**found, "epsilon": np.array(epsilon), "classes": np.array(train.classes)}
    return Poisoned(rows, poisoned, images.y, state)


SPEC = AttackSpec(
    name="deep-confuse",
    summary="Noise from a network that was trained against imaginary victims, on the training images.",
    citation="Feng, Cai, Zhou 2019, Learning to confuse: generating training time adversarial data with auto-encoder; "
    "arXiv 1905.09027",
    params=Params,
    load=DeepConfuse,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=DEFAULT_FRACTION),
)
