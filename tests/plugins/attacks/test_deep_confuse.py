"""DeepConfuse: the gradient through a step, both algorithms, resuming, and what comes out."""

from __future__ import annotations

import copy
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from sparring.contracts import Aux, Context
from sparring.data import ArrayDataset, Arrays, Poisoned
from sparring.stored_file import StoredFile
from sparring.tensors import write_tensors
from sparring.threat import ThreatModel
from sparring_attacks.confuse_gradient import gradient_through_a_step
from sparring_attacks.confuse_networks import Classifier, Generator
from sparring_attacks.confuse_settings import Algorithm, Keep, Preset, Variant
from sparring_attacks.confuse_training import train_generator
from sparring_attacks.confuse_victim import steps_of_a_trial
from sparring_attacks.deep_confuse import DeepConfuse, Params
from sparring_victims.cnn import Cnn
from sparring_victims.cnn import Params as VictimParams

TINY = Params(
    warm_up=3, trials=2, pool=64, passes=3.0, batch_size=16, channels=(4, 8), fc=0, widths=(4, 8), keep=Keep.LAST
)
HALF = ThreatModel(epsilon=0.3, poison_fraction=0.5)


class Memory:
    """Keeps the newest checkpoint."""

    def __init__(self) -> None:
        self.arrays: Arrays | None = None

    def write(self, arrays: Arrays) -> None:
        self.arrays = {name: np.array(array) for name, array in arrays.items()}

    def read(self) -> Arrays | None:
        return self.arrays


class Killed(Exception):
    pass


def dataset(shape: tuple[int, int, int] = (1, 8, 8), count: int = 80, classes: int = 4) -> ArrayDataset:
    rng = np.random.default_rng(3)
    y = np.arange(count) % classes
    pixels = rng.integers(0, 100, (count, *shape))
    pixels[np.arange(count), :, y % shape[1]] += 150
    return ArrayDataset(pixels.astype(np.uint8), y, tuple(f"c{k}" for k in range(classes)))


def poisoned(context, params: Params, train: ArrayDataset, threat: ThreatModel = HALF, seed: int = 0) -> Poisoned:
    (made,) = DeepConfuse(params).poison(train, threat, None, Aux(), context(seed))
    return made


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_gradient_is_that_of_the_loss_after_one_step(batch_norm: bool) -> None:
    torch.manual_seed(0)
    classifier = Classifier((1, 8, 8), 4, (3, 5), 6, batch_norm=batch_norm).double()
    x, y = torch.rand(12, 1, 8, 8, dtype=torch.float64), torch.arange(12) % 4
    noise = (0.1 * torch.randn_like(x)).requires_grad_()
    before = copy.deepcopy(classifier.state_dict())

    def loss_after_the_step(change: torch.Tensor) -> torch.Tensor:
        plain = copy.deepcopy(classifier)
        slopes = torch.autograd.grad(F.cross_entropy(plain(x + change), y), list(plain.parameters()))
        with torch.no_grad():
            for weight, slope in zip(plain.parameters(), slopes, strict=True):
                weight -= 0.5 * slope
        return F.cross_entropy(plain(x), (y + 1) % 4)

    weights = dict(classifier.named_parameters())
    (gradient,) = gradient_through_a_step(classifier, weights, 0.5, x + noise, x, y, (y + 1) % 4, (noise,))
    direction, far = torch.randn_like(x), 1e-6
    with torch.enable_grad():
        rise = loss_after_the_step(noise + far * direction) - loss_after_the_step(noise - far * direction)
    assert float((gradient * direction).sum()) == pytest.approx(float(rise.detach()) / (2 * far), rel=1e-4)
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} was changed"


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 28, 28), (3, 32, 32), (1, 1, 1)])
def test_generators_fit_images_of_any_size(shape: tuple[int, int, int]) -> None:
    for widths in ((16, 32, 64, 128), (4, 8)):
        generator = Generator(shape, widths, skips=shape[0] > 1)
        pattern = generator(torch.rand(5, *shape))
        assert pattern.shape == (5, *shape)
        assert pattern.abs().max() <= 1
        assert tuple(layer.out_channels for layer in generator.modules() if isinstance(layer, nn.Conv2d)) == widths


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_both_algorithms_come_to_the_same_generator(context, variant: Variant, batch_norm: bool) -> None:
    params = replace(TINY, variant=variant, batch_norm=batch_norm)
    stored = poisoned(context, replace(params, algorithm=Algorithm.STORED), dataset())
    merged = poisoned(context, replace(params, algorithm=Algorithm.MEMORY_EFFICIENT), dataset())
    np.testing.assert_allclose(stored.x, merged.x, atol=1e-5)
    np.testing.assert_allclose(stored.state["history"], merged.state["history"], atol=1e-6)
    clean = dataset().rows(merged.rows).x
    assert abs(merged.x - clean).max() > 0.02, "it does nothing"


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, killed_after: int) -> None:
    settings = DeepConfuse(TINY).settings(1, 80)

    def run(checkpoints: Memory, fails: bool) -> bytes:
        ctx = Context(seed=5, device="cpu", scratch=tmp_path, checkpoints=checkpoints)
        plain_write, written = checkpoints.write, []

        def write(arrays: Arrays) -> None:
            plain_write(arrays)
            written.append(arrays)
            if fails and len(written) == killed_after:
                raise Killed

        checkpoints.write = write  # type: ignore[method-assign]
        trained = train_generator(dataset(), None, 0.3, settings, ctx, checkpoint_seconds=0)
        states = [value.numpy().tobytes() for value in trained.generator.state_dict().values()]
        return b"".join(states) + trained.history.tobytes() + ctx.generator.get_state().numpy().tobytes()

    whole = run(Memory(), fails=False)
    memory = Memory()
    with pytest.raises(Killed):
        run(memory, fails=True)
    interrupted = Memory()
    interrupted.arrays = memory.arrays
    assert run(interrupted, fails=False) == whole


def test_a_warmed_up_generator_misleads_classifiers_that_it_never_saw(context) -> None:
    """They take what it makes of a class for the class before."""
    train = dataset(count=4000)
    victim = Cnn(VictimParams(channels=(8,), fc=0, epochs=2, learning_rate=0.01))
    model = victim.fit(train, victim.recipe(), context(2))

    def mistaken(warm_up: int) -> float:
        params = replace(TINY, warm_up=warm_up, trials=0)
        made = poisoned(context, params, train, ThreatModel(epsilon=0.5, poison_fraction=1.0))
        guesses = model.predict(torch.from_numpy(made.x))
        return float(np.mean(np.asarray(guesses) == (made.y - 1) % 4))

    assert mistaken(0) < 0.4
    assert mistaken(150) > 0.7


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5)])
def test_a_fraction_of_the_rows_moves_within_epsilon_and_keeps_its_labels(context, shape) -> None:
    train = dataset(shape)
    made = poisoned(context, TINY, train, ThreatModel(epsilon=0.1, poison_fraction=0.25))
    assert len(made.rows) == 20
    assert (made.y == train.y[made.rows]).all()
    change = abs(made.x.astype(np.float64) - train.x[made.rows])
    assert change.max() <= 0.1
    assert (change.max(axis=(1, 2, 3)) > 0).all()


def test_the_history_tells_the_victims_of_every_generator_and_the_worst_is_kept(context) -> None:
    made = poisoned(context, replace(TINY, trials=4, keep=Keep.BEST), dataset())
    history = made.state["history"]
    assert history.shape == (5, 3)
    assert ((history >= 0) & (history <= 1)).all()
    gap = history[:, 2] - history[:, 0]
    assert gap[int(made.state["kept"])] == gap.max()
    last = poisoned(context, replace(TINY, trials=4, keep=Keep.LAST), dataset())
    assert int(last.state["kept"]) == 4


def test_held_out_rows_are_those_the_suite_cuts_for_the_attacker(context) -> None:
    train = dataset()
    few = train.rows([0, 1, 2])
    (made,) = DeepConfuse(TINY).poison(train, HALF, None, Aux(attacker_val=few), context())
    assert set(np.round(made.state["history"][:, 0] * 3, 6)) <= {0.0, 1.0, 2.0, 3.0}, "shares of three rows"


def test_probes_show_what_the_victim_learnt_instead(context) -> None:
    train = dataset()
    made = poisoned(context, TINY, train, ThreatModel(epsilon=0.3, poison_fraction=1.0))
    probes = DeepConfuse(TINY).probes(train.x, train.y, made.state, context())
    again, labels = probes["poisoned"]
    np.testing.assert_allclose(again, made.x, atol=1e-6)
    assert (labels == train.y).all()
    np.testing.assert_allclose(probes["noise-on-grey"][0] - 0.5 + train.x, again, atol=0.3)
    assert probes["noise-only"][0].max() <= 0.3 + 1e-6
    images, labels = probes["shifted"]
    assert (images == train.x).all()
    assert (labels == (train.y + 1) % 4).all()


def test_the_paper_preset_is_the_paper_and_parameters_stand_over_it() -> None:
    grey = DeepConfuse(Params(preset=Preset.PAPER)).settings(1, 60_000)
    assert (grey.trials, grey.classifier_rate, grey.generator_rate, grey.batch_size) == (500, 0.01, 1e-4, 64)
    assert (grey.channels, grey.fc) == ((20, 50), 500)
    assert (grey.warm_up, steps_of_a_trial(60_000, grey)) == (0, 938)
    assert grey.generator_every == 1
    colour = DeepConfuse(Params(preset=Preset.PAPER, trials=3)).settings(3, 50_000)
    assert (colour.channels, colour.fc) == ((32, 64, 128, 128, 128), 0)
    assert colour.trials == 3


def test_without_images_there_is_nothing_to_train_on(context) -> None:
    with pytest.raises(ValueError, match="training set is empty"):
        poisoned(context, TINY, dataset().rows([]))


def stored(folder: Path, state: Arrays) -> StoredFile:
    buffer = io.BytesIO()
    write_tensors(buffer, state, {"seed": 0})
    path = folder / "generator.safetensors"
    path.write_bytes(buffer.getvalue())
    return StoredFile(hashlib.sha256(buffer.getvalue()).hexdigest(), str(path))


def test_a_stored_generator_poisons_without_training(context, tmp_path) -> None:
    train, all_rows = dataset(), ThreatModel(epsilon=0.3, poison_fraction=1.0)
    made = poisoned(context, TINY, train, all_rows)
    again = Params(generator=(stored(tmp_path, made.state),))
    reused = poisoned(context, again, train, all_rows, seed=9)
    np.testing.assert_allclose(reused.x, made.x, atol=1e-6)
    weaker = poisoned(context, again, train, ThreatModel(epsilon=0.1, poison_fraction=0.5))
    assert abs(weaker.x - train.x[weaker.rows]).max() <= 0.1
    with pytest.raises(ValueError, match="no generator of DeepConfuse for images of 3 x 8 x 8"):
        poisoned(context, again, dataset((3, 8, 8)), all_rows)
