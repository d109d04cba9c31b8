"""What training the proxies of a search for pixels as one batch saves: a ratio of CPU times within one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.contracts import Context
from sparring.data import ArrayDataset
from sparring.training import Recipe
from sparring.training_loop import train
from sparring_attacks.pixel_marks import Marks
from sparring_attacks.pixel_networks import PixelNetwork
from sparring_attacks.pixel_proxies import BATCH, Population, Stand

pytestmark = [pytest.mark.performance, pytest.mark.timeout(300)]

ROWS, HELD, EPOCHS, CANDIDATES = 3000, 1000, 2, 8


class FrozenConvolutions(PixelNetwork):
    """The very network that a proxy is: what it trains lies behind its convolutions."""

    def train(self, mode: bool = True) -> FrozenConvolutions:
        super().train(mode)
        for part in (self.first, self.second):
            part.eval().requires_grad_(False)
        return self


def cpu_of(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def test_a_candidate_of_a_population_costs_a_third_of_a_proxy_alone(tmp_path: Path) -> None:
    """Same network, rows, epochs and batch size, held-out images judged in both; the population pays for its marks."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (ROWS + HELD, 1, 28, 28), dtype=np.uint8)
    data = ArrayDataset(pixels, rng.integers(0, 10, ROWS + HELD), tuple("0123456789"))
    fit, held = data.rows(np.arange(ROWS)), data.rows(np.arange(ROWS, ROWS + HELD))
    places = [np.stack(np.divmod(rng.choice(784, 10, replace=False), 28), axis=1) for _ in range(CANDIDATES)]
    candidates = [Marks(place, rng.random(10).astype(np.float32), "set") for place in places]
    body = FrozenConvolutions((1, 28, 28), 10).eval()
    stand = Stand.of(body, fit, held, "cpu")

    def batched() -> None:
        population = Population(stand, candidates, body)
        for _ in range(EPOCHS):
            population.epoch(torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)))
        population.score()

    def alone(network: PixelNetwork) -> None:
        marked = ArrayDataset(candidates[0].on(fit.x, fit.y), fit.y, fit.class_names)
        ctx = Context(seed=0, device="cpu", scratch=tmp_path)
        train(network, marked, Recipe(epochs=EPOCHS, batch_size=BATCH), ctx)
        with torch.no_grad():
            for images in (marked.x[:HELD], held.x):
                network(torch.from_numpy(np.array(images)))

    batched()  # memory is touched for the first time
    together = min(cpu_of(batched) for _ in range(3)) / CANDIDATES
    frozen = min(cpu_of(lambda: alone(FrozenConvolutions((1, 28, 28), 10))) for _ in range(3))
    whole = min(cpu_of(lambda: alone(PixelNetwork((1, 28, 28), 10))) for _ in range(2))
    print(
        f"CPU seconds a candidate: batched {together:.3f}, alone {frozen:.3f} ({frozen / together:.1f} x), "
        f"alone with its convolutions trained {whole:.3f} ({whole / together:.1f} x)"
    )
    assert frozen >= 3 * together
