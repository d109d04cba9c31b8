"""The searches for single-pixel marks: proxies, samplers, the region of interest, and stopping in between."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.contracts import Aux
from sparring.data import ArrayDataset, Arrays
from sparring.stored_file import StoredFile
from sparring.tensors import write_tensors
from sparring.threat import ThreatModel
from sparring.training import Recipe
from sparring.training_loop import train
from sparring_attacks.pixel_genome import MarkSpace, outside_of_interest
from sparring_attacks.pixel_marks import Marks
from sparring_attacks.pixel_networks import PixelNetwork, class_activation_maps, fitted
from sparring_attacks.pixel_proxies import BATCH, Population, Stand
from sparring_attacks.pixel_samplers import CmaSampler, UniformSampler
from sparring_attacks.random_search_pixel import Params as RandomParams
from sparring_attacks.random_search_pixel import RandomSearchPixel
from sparring_attacks.single_pixel import Params, SinglePixel

SMALL = {"population": 4, "generations": 3, "rows": 60, "held_out": 20, "refresh": 2, "final_rows": 60, "epochs": 2}
SEARCHES = [SinglePixel(Params(**SMALL, scouts=1)), RandomSearchPixel(RandomParams(**SMALL))]


class FrozenConvolutions(PixelNetwork):
    """Trains what is behind the convolutions only, as a proxy does, by the ordinary loop."""

    def train(self, mode: bool = True) -> FrozenConvolutions:
        super().train(mode)
        for part in (self.first, self.second):
            part.eval().requires_grad_(False)
        return self


def random_marks(shape: tuple[int, int], classes: int, rng: np.random.Generator) -> Marks:
    places = rng.choice(shape[0] * shape[1], classes, replace=False)
    positions = np.stack(np.divmod(places, shape[1]), axis=1).astype(np.int64)
    return Marks(positions, rng.random(classes).astype(np.float32), "set")


def noise(shape: tuple[int, int, int], count: int) -> ArrayDataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return ArrayDataset(pixels, np.arange(count) % 10, tuple("0123456789"))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 13, 9), (1, 2, 5), (1, 11, 14)])
def test_a_mark_changes_the_cells_that_it_would_change_in_the_whole_image(context, shape) -> None:
    data = noise(shape, 40)
    network = fitted(data, 1, context())
    corners = np.array([(r, c) for r in (0, shape[1] - 1) for c in (0, shape[2] - 1)])
    rng = np.random.default_rng(1)
    middle = np.stack([rng.integers(0, side, 6) for side in shape[1:]], axis=1)
    marks = Marks(np.concatenate([corners, middle]), rng.random(10).astype(np.float32), "set")
    stand = Stand.of(network, data, data, "cpu")
    found = Population(stand, [marks, marks], network).marked_cells(torch.arange(40))[1]
    torch.testing.assert_close(found, network.cells(torch.from_numpy(marks.on(data.x, data.y))).flatten(1))


def test_a_population_trains_as_each_of_its_proxies_would_alone(context, digits) -> None:
    """By the ordinary loop, from the same weights, in the same order: the same gap."""
    data, held = digits.rows(np.arange(600)), digits.rows(np.arange(1000, 1600))
    body = FrozenConvolutions((1, 8, 8), 10)
    body.load_state_dict(fitted(data, 1, context()).state_dict())
    candidates = [random_marks((8, 8), 10, np.random.default_rng(seed)) for seed in range(3)]
    population = Population(Stand.of(body, data, held, "cpu"), candidates, body)
    draws = context(7).generator
    for _ in range(3):
        torch.randint(2**62, (), generator=draws)  # the loop reseeds the global generators before each epoch
        population.epoch(torch.randperm(len(data), generator=draws))
    score = population.score()
    for number, marks in enumerate(candidates):
        alone = FrozenConvolutions((1, 8, 8), 10)
        alone.load_state_dict(body.state_dict())
        marked = ArrayDataset(marks.on(data.x, data.y), data.y, data.class_names)
        train(alone, marked, Recipe(epochs=3, batch_size=BATCH), context(7))
        accuracy = [(alone(torch.from_numpy(d.x)).argmax(1).numpy() == d.y).mean() for d in (marked, held)]
        assert score.train_accuracy[number] == pytest.approx(accuracy[0], abs=0.005)
        assert score.held_accuracy[number] == pytest.approx(accuracy[1], abs=0.005)
    assert len(np.unique(score.gap)) == 3


def test_the_halved_population_goes_on_as_if_it_had_been_alone(context, digits) -> None:
    data = digits.rows(np.arange(300))
    network = fitted(data, 1, context())
    stand = Stand.of(network, data, digits.rows(np.arange(1000, 1300)), "cpu")
    candidates = [random_marks((8, 8), 10, np.random.default_rng(seed)) for seed in range(4)]
    orders = [torch.randperm(300, generator=torch.Generator().manual_seed(e)) for e in range(2)]
    whole, pair = Population(stand, candidates, network), Population(stand, [candidates[i] for i in (1, 3)], network)
    for population in (whole, pair):
        population.epoch(orders[0])
    whole.keep(np.array([1, 3]))
    for population in (whole, pair):
        population.epoch(orders[1])
    np.testing.assert_allclose(whole.score().gap, pair.score().gap, atol=0.005)
    assert len(whole) == 2


def test_cma_finds_a_valley_that_uniform_draws_do_not() -> None:
    goal = np.linspace(0.1, 0.9, 12)

    def best(sampler: CmaSampler | UniformSampler) -> float:
        found = np.inf
        for _ in range(40):
            points = sampler.ask()
            assert points.shape == (8, 12)
            assert ((points >= 0) & (points <= 1)).all()
            distance = ((points - goal) ** 2).sum(axis=1)
            sampler.tell(-distance)
            found = min(found, distance.min())
        return found

    state = np.random.get_state()[1].copy()  # noqa: NPY002
    directed = best(CmaSampler(12, 8, np.random.default_rng(0), sigma=0.2, widths=(1.0, 2.0), scouts=2))
    undirected = best(UniformSampler(12, 8, np.random.default_rng(0)))
    assert directed < 0.1 * undirected
    assert (np.random.get_state()[1] == state).all(), "numpy's global generator was drawn from"  # noqa: NPY002


def test_points_name_the_nearest_allowed_pixel_and_the_intensity() -> None:
    allowed = np.zeros((2, 4, 6), dtype=bool)
    allowed[0, 0] = allowed[1, :, 5] = True
    marks = MarkSpace(allowed, "set").marks(np.array([0.99, 0.4, 0.5, 0.0, 0.1875, 0.8]))
    assert marks.positions.tolist() == [[0, 2], [1, 5]]
    assert marks.intensities == pytest.approx([0.25, 1.0])


def test_activation_maps_are_bright_where_the_class_shows(context) -> None:
    """Classes 0 and 1 differ in one corner each; the rest is the same noise."""
    rng = np.random.default_rng(0)
    x = rng.random((200, 1, 12, 12)).astype(np.float32) * 0.2
    y = np.arange(200) % 2
    x[y == 0, :, 1:4, 1:4] += 0.8
    x[y == 1, :, 8:11, 8:11] += 0.8
    data = ArrayDataset(x, y, ("a", "b", "never seen"))
    maps = class_activation_maps(fitted(data, 10, context()), data, "cpu")
    assert maps.shape == (3, 12, 12)
    assert (maps >= 0).all()
    inside = np.zeros((2, 12, 12), dtype=bool)
    inside[0, :5, :5] = inside[1, 7:, 7:] = True
    for label in range(2):
        assert maps[label][inside[label]].mean() > 2 * maps[label][~inside[label]].mean()
    allowed = outside_of_interest(maps, 0.5)
    assert abs(allowed[:2].mean() - 0.5) < 0.05
    assert allowed[2].all(), "a class without images has no region of interest"


def test_activation_maps_are_grad_cam_of_the_true_class(context, digits) -> None:
    """Selvaraju et al. 2017: weights are mean gradients (equation 1), the map a rectified weighted sum (equation 2)."""
    data = digits.rows(np.arange(200))
    network = fitted(data, 2, context())
    x, y = torch.from_numpy(data.x.copy()), torch.from_numpy(data.y.copy())
    activations = network.second(network.first(x)).requires_grad_(True)
    logits = network.head(network.hidden(network.pool(activations).flatten(1)).relu())
    (gradient,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), activations)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu().detach()
    means = np.stack([cam[y == label].mean(dim=0).numpy() for label in range(10)])
    np.testing.assert_allclose(class_activation_maps(network, data, "cpu"), means, atol=1e-5)


@pytest.mark.parametrize("attack", SEARCHES, ids=lambda a: type(a).__name__)
def test_marks_lie_where_they_may_and_the_way_there_is_told(context, digits, attack) -> None:
    (poisoned,) = attack.poison(digits.rows(np.arange(120)), ThreatModel(), None, Aux(), context())
    state = poisoned.state
    rows, columns = state["positions"].T
    assert state["allowed"][np.arange(10), rows, columns].all()
    assert abs(state["allowed"].mean() - 0.5) < 0.1
    assert ((state["intensities"] >= 0) & (state["intensities"] <= 1)).all()
    assert len(state["best_gap"]) == len(state["mean_gap"]) == 3
    assert (state["best_gap"] >= state["mean_gap"]).all()
    assert len(state["network_gap"]) == 1
    assert (
        poisoned.x[:, 0][np.arange(120), rows[poisoned.y], columns[poisoned.y]] == state["intensities"][poisoned.y]
    ).all()
    free = type(attack)(replace(attack.params, mask=None)).search(digits.rows(np.arange(120)), context())
    assert free["allowed"].all()


class Shelf:
    """Keeps the newest checkpoint, and kills the stage after some of them."""

    def __init__(self, deadly: int) -> None:
        self.kept: Arrays | None = None
        self.deadly = deadly

    def write(self, arrays: Arrays) -> None:
        self.kept = {name: np.array(array) for name, array in arrays.items()}
        self.deadly -= 1
        if self.deadly == 0:
            raise KeyboardInterrupt

    def read(self) -> Arrays | None:
        return self.kept


@pytest.mark.parametrize("attack", SEARCHES, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("deadly", [1, 2, 3])
def test_a_killed_search_resumes_to_the_same_bytes(context, digits, attack, deadly) -> None:
    data, shelf = digits.rows(np.arange(120)), Shelf(deadly)

    def run(checkpoints: Shelf | None) -> dict[str, bytes]:
        ctx = replace(context(3), checkpoints=checkpoints)
        (poisoned,) = attack.poison(data, ThreatModel(poison_fraction=0.5), None, Aux(), ctx)
        return {"rows": poisoned.rows.tobytes(), **{name: array.tobytes() for name, array in poisoned.state.items()}}

    with pytest.raises(KeyboardInterrupt):
        run(shelf)
    assert run(shelf) == run(None)


def test_progress_is_told_each_generation(context, digits) -> None:
    told: list[tuple[int, int, str]] = []
    ctx = replace(context(), report=lambda done, total, note: told.append((done, total, note)))
    SEARCHES[0].search(digits.rows(np.arange(120)), ctx)
    dones, totals = [done for done, _, _ in told], {total for _, total, _ in told}
    assert dones == list(range(1, 8)), "three generations; the mean, and the best of each generation, at the end"
    assert totals == {8}, "five finalists, had there been as many generations"
    assert "gap" in told[0][2]


def test_a_lone_image_cannot_be_searched_on(context, digits) -> None:
    with pytest.raises(ValueError, match="at least two images"):
        SEARCHES[0].search(digits.rows([0]), context())


def stored_marks(folder: Path, positions: list[list[int]], seed: int = 5) -> StoredFile:
    buffer = io.BytesIO()
    state = {"positions": np.array(positions), "intensities": np.linspace(0, 1, len(positions)).astype(np.float32)}
    write_tensors(buffer, state, {"seed": seed})
    path = folder / f"{seed}.safetensors"
    path.write_bytes(buffer.getvalue())
    return StoredFile(hashlib.sha256(buffer.getvalue()).hexdigest(), str(path))


def test_stored_marks_are_written_without_a_search(context, digits, tmp_path) -> None:
    places = [[k // 8, k % 8] for k in range(10)]
    attack = SinglePixel(Params(marks=(stored_marks(tmp_path, places),)))
    (poisoned,) = attack.poison(digits, ThreatModel(), None, Aux(), context())
    images = poisoned.x[np.arange(len(digits)), 0, poisoned.y // 8, poisoned.y % 8]
    assert np.array_equal(images, np.linspace(0, 1, 10).astype(np.float32)[poisoned.y])


@pytest.mark.parametrize("places", [[[0, 0]] * 9, [[0, 8]] * 10])
def test_stored_marks_that_do_not_fit_are_refused(context, digits, tmp_path, places) -> None:
    attack = SinglePixel(Params(marks=(stored_marks(tmp_path, places),)))
    with pytest.raises(ValueError, match="not for 10 classes of 8 x 8 images"):
        attack.poison(digits, ThreatModel(), None, Aux(), context())
