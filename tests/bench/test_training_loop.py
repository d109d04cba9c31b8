"""The training loop: learning, determinism, resuming, early stop, inner adversary, odd batches."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparring.augmentation import augment, shifted
from sparring.contracts import Arrays, Context, DeadlineExceeded
from sparring.data import ArrayDataset
from sparring.inner_adversary import adversarial
from sparring.optimisation import rate_factor
from sparring.threat import Norm
from sparring.training import Augmentation, InnerAdversary, Optimiser, Recipe, Schedule
from sparring.training_loop import TrainingDiverged, cut_batches, initialised, train


class MemoryCheckpoints:
    """Keeps the newest checkpoint, as bytes would be kept."""

    def __init__(self) -> None:
        self.arrays: Arrays | None = None
        self.writes = 0

    def write(self, arrays: Arrays) -> None:
        self.arrays = {name: np.array(array) for name, array in arrays.items()}
        self.writes += 1

    def read(self) -> Arrays | None:
        return self.arrays


def context(seed: int = 0, **fields: object) -> Context:
    return Context(seed=seed, device="cpu", scratch=Path("/nonexistent"), **fields)  # type: ignore[arg-type]


def stripes(count: int = 160, seed: int = 0, side: int = 6, as_bytes: bool = False) -> ArrayDataset:
    """Noisy images: class 0 is bright above, class 1 below, class 2 on the left."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.uniform(0, 0.5, (count, 1, side, side)).astype(np.float32)
    x[y == 0, :, : side // 2] += 0.4
    x[y == 1, :, side // 2 :] += 0.4
    x[y == 2, :, :, : side // 2] += 0.4
    pixels = (x * 255).astype(np.uint8) if as_bytes else x
    return ArrayDataset(pixels, y.astype(np.int64), ("above", "below", "left"))


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(144, 3)
    )


def fitted(recipe: Recipe, ctx: Context, data: ArrayDataset, **options: float) -> nn.Module:
    return train(initialised(small_network, ctx), data, recipe, ctx, **options)


def state_bytes(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def accuracy(network: nn.Module, data: ArrayDataset, x: torch.Tensor | None = None) -> float:
    images = torch.from_numpy(data.x.copy()) if x is None else x
    with torch.no_grad():
        return float((network(images).argmax(1).numpy() == data.y).mean())


RATES = {
    Optimiser.SGD: 0.2,
    Optimiser.MOMENTUM: 0.05,
    Optimiser.ADAM: 0.01,
    Optimiser.RMSPROP: 0.001,
    Optimiser.ADABOUND: 0.01,
}
BUSY = Recipe(
    epochs=4, batch_size=32, learning_rate=0.01, augmentation=Augmentation.SHIFT_FLIP, schedule=Schedule.COSINE
)


@pytest.mark.parametrize("optimiser", Optimiser)
def test_each_optimiser_learns(optimiser: Optimiser) -> None:
    recipe = Recipe(optimiser=optimiser, learning_rate=RATES[optimiser], epochs=15, batch_size=32)
    network = fitted(recipe, context(), stripes())
    assert accuracy(network, stripes(seed=1)) > 0.95


@pytest.mark.parametrize("schedule", Schedule)
def test_each_schedule_learns(schedule: Schedule) -> None:
    network = fitted(Recipe(schedule=schedule, epochs=15, batch_size=32, learning_rate=0.01), context(), stripes())
    assert accuracy(network, stripes(seed=1)) > 0.9


@given(st.sampled_from(list(Schedule)), st.floats(0, 1, exclude_max=True))
def test_the_rate_never_exceeds_its_peak(schedule: Schedule, done: float) -> None:
    assert 0 <= rate_factor(schedule, done) <= 1


def test_steps_fall_at_one_half_and_three_quarters() -> None:
    assert [rate_factor(Schedule.STEPS, t) for t in (0, 0.49, 0.5, 0.74, 0.75)] == [1, 1, 0.1, 0.1, 0.01]


def test_one_seed_gives_the_same_bytes_and_another_one_others() -> None:
    recipe = replace(BUSY, adversary=InnerAdversary(epsilon=0.1, steps=2, random_start=True))
    one, same, other = (state_bytes(fitted(recipe, context(seed), stripes())) for seed in (0, 0, 1))
    assert one == same
    assert one["5.weight"] != other["5.weight"]


def test_neither_reads_nor_moves_the_global_generators() -> None:
    def draws() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002

    def seed_all() -> None:
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002
        random.seed(3)

    seed_all()
    expected = draws()
    first = state_bytes(fitted(BUSY, context(), stripes()))
    seed_all()
    second = state_bytes(fitted(BUSY, context(), stripes()))
    assert draws() == expected
    assert first == second


def test_bytes_and_floats_of_the_same_images_train_the_same_network() -> None:
    whole = stripes(as_bytes=True)
    floats = ArrayDataset(whole.x, whole.y, whole.class_names)
    assert state_bytes(fitted(BUSY, context(), whole)) == state_bytes(fitted(BUSY, context(), floats))


class Killed(RuntimeError):
    pass


def killed_after(epoch: int) -> Callable[[int, int, str], None]:
    def report(done: int, total: int, note: str) -> None:
        if note.startswith(f"epoch {epoch} "):
            raise Killed

    return report


@pytest.mark.parametrize("optimiser", Optimiser)
def test_a_resumed_training_gives_the_same_bytes(optimiser: Optimiser) -> None:
    recipe = replace(BUSY, optimiser=optimiser, learning_rate=RATES[optimiser])
    whole = state_bytes(fitted(recipe, context(), stripes()))
    checkpoints = MemoryCheckpoints()
    with pytest.raises(Killed):
        fitted(recipe, context(checkpoints=checkpoints, report=killed_after(3)), stripes(), checkpoint_seconds=0)
    assert checkpoints.writes == 2
    notes: list[str] = []
    again = context(checkpoints=checkpoints, report=lambda done, total, note: notes.append(note))
    assert state_bytes(fitted(recipe, again, stripes())) == whole
    assert [note.split(",")[0] for note in notes] == ["epoch 3 of 4", "epoch 4 of 4"]


def test_a_stage_that_trains_several_networks_resumes_each_as_itself() -> None:
    def stage(ctx: Context) -> list[dict[str, bytes]]:
        parts = [stripes(seed=2), stripes(seed=3)]
        return [state_bytes(fitted(BUSY, ctx, part, checkpoint_seconds=0)) for part in parts]

    whole = stage(context())
    checkpoints = MemoryCheckpoints()
    calls = 0

    def dies_in_the_second_network(done: int, total: int, note: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed

    with pytest.raises(Killed):
        stage(context(checkpoints=checkpoints, report=dies_in_the_second_network))
    assert stage(context(checkpoints=checkpoints)) == whole


def test_a_deadline_stops_the_training() -> None:
    with pytest.raises(DeadlineExceeded):
        fitted(BUSY, context(deadline=0.0), stripes())


def test_stops_at_the_asked_training_error() -> None:
    notes: list[str] = []
    ctx = context(report=lambda done, total, note: notes.append(note))
    recipe = Recipe(epochs=60, batch_size=32, learning_rate=0.01, stop_at_error=0.01)
    network = fitted(recipe, ctx, stripes())
    assert len(notes) < 30
    assert accuracy(network, stripes()) >= 0.99


def test_does_not_stop_before_the_asked_training_error() -> None:
    notes: list[str] = []
    ctx = context(report=lambda done, total, note: notes.append(note))
    random_labels = stripes(90).relabelled(np.random.default_rng(0).integers(0, 3, 90))
    fitted(Recipe(epochs=5, learning_rate=1e-4, stop_at_error=0.2), ctx, random_labels)
    assert len(notes) == 5


@pytest.mark.parametrize(("norm", "epsilon", "steps"), [(Norm.LINF, 0.15, 1), (Norm.LINF, 0.15, 5), (Norm.L2, 1.0, 5)])
def test_an_inner_adversary_raises_robust_accuracy(norm: Norm, epsilon: float, steps: int) -> None:
    adversary = InnerAdversary(norm=norm, epsilon=epsilon, steps=steps, random_start=steps > 1, clean_weight=0.3)
    recipe = Recipe(epochs=15, batch_size=32, learning_rate=0.01)
    test = stripes(seed=1)
    x, y = torch.from_numpy(test.x.copy()), torch.from_numpy(test.y.copy())
    attack = InnerAdversary(norm=norm, epsilon=epsilon, steps=20)

    def robust(network: nn.Module) -> float:
        return accuracy(network, test, adversarial(network, x, y, attack, torch.Generator().manual_seed(0)))

    naive, hardened = (fitted(r, context(), stripes()) for r in (recipe, replace(recipe, adversary=adversary)))
    assert robust(hardened) > robust(naive) + 0.1


@given(
    st.sampled_from([Norm.LINF, Norm.L2]), st.floats(0.01, 2), st.integers(1, 4), st.booleans(), st.integers(0, 2**31)
)
def test_inner_adversarial_examples_keep_their_budget(
    norm: Norm, epsilon: float, steps: int, start: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((3, 1, 6, 6), generator=generator)
    before = x.clone()
    network = small_network().train()
    adversary = InnerAdversary(norm=norm, epsilon=epsilon, steps=steps, random_start=start)
    moved = adversarial(network, x, torch.tensor([0, 1, 2]), adversary, generator)
    change = (moved - x).flatten(1)
    size = change.abs().amax(1) if norm is Norm.LINF else change.norm(dim=1)
    assert float(size.max()) <= epsilon * (1 + 1e-4) + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert torch.equal(x, before)
    assert network.training
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("kind", [Augmentation.SHIFT, Augmentation.SHIFT_FLIP, Augmentation.GAUSSIAN])
def test_augmentation_changes_images_but_not_their_form(kind: Augmentation) -> None:
    x = torch.rand((50, 3, 7, 5), generator=torch.Generator().manual_seed(0))
    out = augment(x, kind, torch.Generator().manual_seed(1))
    assert out.shape == x.shape
    assert not torch.equal(out, x)
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_shifts_are_crops_by_at_most_one_eighth() -> None:
    x = torch.rand((40, 2, 16, 9), generator=torch.Generator().manual_seed(0))
    framed = nn.functional.pad(x, (1, 1, 2, 2))
    crops = [framed[:, :, i : i + 16, j : j + 9] for i in range(5) for j in range(3)]
    out = shifted(x, torch.Generator().manual_seed(1))
    found = {next(k for k, crop in enumerate(crops) if torch.equal(crop[n], out[n])) for n in range(40)}
    assert len(found) > 8


@given(st.integers(1, 60), st.integers(1, 20))
def test_batches_hold_every_row_once_and_no_lone_last_one(count: int, size: int) -> None:
    batches = cut_batches(torch.arange(count), size)
    assert torch.cat(batches).tolist() == list(range(count))
    assert all(len(b) > 1 for b in batches) or size == 1 or count == 1


@pytest.mark.parametrize(("count", "batch_size"), [(1, 32), (5, 1), (9, 4)])
def test_batch_norm_survives_lone_images(count: int, batch_size: int) -> None:
    def with_batch_norm_of_vectors() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    ctx = context()
    data = stripes(count)
    network = train(initialised(with_batch_norm_of_vectors, ctx), data, Recipe(epochs=2, batch_size=batch_size), ctx)
    assert all(bool(torch.isfinite(p).all()) for p in network.parameters())


def test_a_diverged_training_says_so() -> None:
    def deep() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))

    ctx = context()
    recipe = Recipe(optimiser=Optimiser.SGD, learning_rate=1e30, epochs=3)
    with pytest.raises(TrainingDiverged, match=r"not finite in epoch \d of 3; a smaller learning rate than 1e\+30"):
        train(initialised(deep, ctx), stripes(), recipe, ctx)


def test_an_empty_training_set_is_refused() -> None:
    with pytest.raises(ValueError, match="training set is empty"):
        fitted(Recipe(), context(), stripes().rows([]))


def test_frozen_parameters_stay() -> None:
    ctx = context()
    network = initialised(small_network, ctx)
    network[0].requires_grad_(False)  # type: ignore[index]
    before = network[0].weight.clone()  # type: ignore[index]
    train(network, stripes(), BUSY, ctx)
    assert torch.equal(network[0].weight, before)  # type: ignore[index]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_trains_on_a_gpu() -> None:
    ctx = replace(context(), device="cuda:0")
    recipe = replace(BUSY, adversary=InnerAdversary(epsilon=0.05, steps=2, random_start=True), epochs=15)
    network = fitted(recipe, ctx, stripes())
    assert accuracy(network.cpu(), stripes(seed=1)) > 0.6
