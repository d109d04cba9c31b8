"""The search for single-pixel marks that a network follows: candidates, proxies, and what survives both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparring.contracts import Context
from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray
from sparring.model import untouched_randomness
from sparring.training_loop import initialised
from sparring_attacks.pixel_genome import MarkSpace, outside_of_interest
from sparring_attacks.pixel_marks import Marks
from sparring_attacks.pixel_networks import PixelNetwork, class_activation_maps, fitted
from sparring_attacks.pixel_proxies import Population, Stand
from sparring_attacks.pixel_samplers import MakeSampler, Points
from sparring_attacks.pixel_search_params import SearchParams

HALVED_AFTER = 1  # epochs


@dataclass(eq=False)
class History:
    """What was tried, by generation; a sampler told all of it again stands where it stood.

    Attributes:
        points: (P, 3K) each.
        fitness: (P,) each, higher is better.
        gaps: (P,) each.
        network_gaps: gap of every network trained from scratch on the marks at the centre of the search.
    """

    points: list[Points] = field(default_factory=list)
    fitness: list[NDArray[np.float64]] = field(default_factory=list)
    gaps: list[NDArray[np.float64]] = field(default_factory=list)
    network_gaps: list[float] = field(default_factory=list)

    def arrays(self) -> Arrays:
        return {name: np.array(values) for name, values in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> History:
        return cls(**{name: list(arrays[name]) for name in vars(cls())})

    def best(self, count: int) -> list[Points]:
        """The points (3K,) of the best fitness in their generation, the best generations first."""
        firsts = [(float(f.max()), g, int(f.argmax())) for g, f in enumerate(self.fitness)]
        return [self.points[g][i] for _, g, i in sorted(firsts, reverse=True)[:count]]


class Search:
    """One search on an attacker's copy of the training set; the test set is never seen.

    Args:
        train: the clean training set.
        make_sampler: what proposes candidates.
        ctx: one progress step a generation, a checkpoint after each; all that is random comes from here.
    """

    def __init__(self, train: ArrayDataset, params: SearchParams, make_sampler: MakeSampler, ctx: Context) -> None:
        if len(train) < 2 or min(train.image_shape[1:]) < 2:
            raise ValueError("a search for pixels needs at least two images of at least 2 x 2 pixels")
        self.train, self.params, self.make_sampler, self.ctx = train, params, make_sampler, ctx
        torch.Generator.get_state(ctx.generator)  # made before it is shared
        self.inner = replace(ctx, checkpoints=None, report=None)

    def run(self) -> Arrays:
        """The marks that came out best, and the way there.

        Returns:
            positions, intensities: see `Marks`.
            activation_maps: (K, H, W) float32, the classes' Grad-CAM; allowed: (K, H, W) bool, where marks may lie.
            best_gap, mean_gap: (G,) of each generation's proxies.
            network_gap: of networks trained from scratch on the marks at the centre, after every `refresh` generations.
            final_gaps: (F,) of the finalists' networks; the first is the centre's where the sampler has one.
        """
        start = self.ctx.resume() or self._beginning()
        seed, maps = int(start["seed"]), np.array(start["maps"])
        history = History.from_arrays(start)
        rows, held = self._split(seed)
        space = self._space(maps)
        sampler = self.make_sampler(space.dimensions, self.params.population, np.random.default_rng([seed, 1]))
        for fitness in history.fitness:
            sampler.ask()
            sampler.tell(fitness)
        network = self._restored(start)
        stand = self._stand(network, rows, held)
        for generation in range(len(history.points), self.params.generations):
            points = sampler.ask()
            fitness, gaps = self._evaluated([space.marks(point) for point in points], stand)
            sampler.tell(fitness)
            history.points.append(points)
            history.fitness.append(fitness)
            history.gaps.append(gaps)
            if (generation + 1) % self.params.refresh == 0 and generation + 1 < self.params.generations:
                centre = [*sampler.centre(), *history.best(1)][0]
                network, gap = self._trained(
                    space.marks(centre), rows[: self.params.network_rows], held, self.params.epochs
                )
                history.network_gaps.append(gap)
                stand = self._stand(network, rows, held)
            self.ctx.checkpoint(_checkpoint(seed, maps, network, history))
            self._tell(generation + 1, f"gap {gaps.max():.2f}, mean {gaps.mean():.2f}")
        marks, final_gaps = self._winner(sampler.centre(), history, space, rows, held)
        return {
            **marks.state(),
            "activation_maps": maps,
            "allowed": space.allowed,
            "best_gap": np.array([gaps.max() for gaps in history.gaps]),
            "mean_gap": np.array([gaps.mean() for gaps in history.gaps]),
            "network_gap": np.array(history.network_gaps),
            "final_gaps": np.array(final_gaps),
        }

    def _beginning(self) -> Arrays:
        """Before the first generation: the classes' regions of interest, and convolutions that see single pixels.

        The latter come from a network trained on marks drawn at random, because no others react to marks.
        """
        seed = int(self.ctx.rng.integers(2**31))
        rows, held = self._split(seed)
        rows = rows[: self.params.network_rows]
        clean = fitted(self.train.rows(rows), self.params.epochs, self.inner)
        maps = class_activation_maps(clean, self.train.rows(rows), self.ctx.device)
        space = self._space(maps)
        point = np.random.default_rng([seed, 2]).random(space.dimensions)
        point[-self.train.classes :] = 1
        network, _ = self._trained(space.marks(point), rows, held, self.params.epochs)
        return _checkpoint(seed, maps, network, History())

    def _split(self, seed: int) -> tuple[IntArray, IntArray]:
        """Rows to train on, in random order, and held-out rows: at most a quarter."""
        order = np.random.default_rng([seed, 0]).permutation(len(self.train))
        held = min(self.params.held_out, max(1, len(order) // 4))
        return order[held:], order[:held]

    def _space(self, maps: FloatArray) -> MarkSpace:
        return MarkSpace(
            outside_of_interest(maps, 1 if self.params.mask is None else self.params.mask), self.params.writing
        )

    def _stand(self, network: PixelNetwork, rows: IntArray, held: IntArray) -> Stand:
        train = self.train.rows(rows[: self.params.rows])
        return Stand.of(network, train, self.train.rows(held), self.ctx.device)

    def _restored(self, arrays: Arrays) -> PixelNetwork:
        with untouched_randomness():
            network = PixelNetwork(self.train.image_shape, self.train.classes).to(self.ctx.device)
        state = {k.removeprefix("network/"): v for k, v in arrays.items() if k.startswith("network/")}
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
        return network

    def _fresh(self) -> PixelNetwork:
        network = initialised(lambda: PixelNetwork(self.train.image_shape, self.train.classes), self.inner)
        assert isinstance(network, PixelNetwork)
        return network

    def _evaluated(self, candidates: Sequence[Marks], stand: Stand) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(P,) fitness and gap of each; those who do not survive the halving stand behind those who do."""
        population = Population(stand, candidates, self._fresh())
        alive = np.arange(len(candidates))
        fitness, gaps = np.zeros((2, len(candidates)))
        for epoch in range(1, self.params.epochs + 1):
            population.epoch(torch.randperm(len(stand.train), generator=self.ctx.generator))
            if epoch not in (HALVED_AFTER, self.params.epochs):
                continue
            score = population.score()
            gaps[alive] = score.gap
            fitness[alive] = score.gap + self.params.divergence * score.divergence
            if epoch < self.params.epochs:
                chosen = np.sort(np.argsort(-fitness, kind="stable")[: (len(candidates) + 1) // 2])
                dead = np.setdiff1d(alive, chosen)
                fitness[dead] -= 10  # no gap is that wide
                population.keep(chosen)
                alive = chosen
        return fitness, gaps

    def _trained(self, marks: Marks, rows: IntArray, held: IntArray, epochs: int) -> tuple[PixelNetwork, float]:
        """A network trained from scratch on marked rows, and its generalisation gap."""
        clean, unseen = self.train.rows(rows), self.train.rows(held)
        marked = ArrayDataset(marks.on(clean.x, clean.y), clean.y, clean.class_names)
        network = fitted(marked, epochs, self.inner)
        part = marked.rows(np.arange(min(len(marked), len(held))))
        gap = _accuracy(network, part, self.ctx.device) - _accuracy(network, unseen, self.ctx.device)
        return network, gap

    def _winner(
        self, centre: Points, history: History, space: MarkSpace, rows: IntArray, held: IntArray
    ) -> tuple[Marks, list[float]]:
        finalists = [space.marks(point) for point in (*centre, *history.best(self.params.finalists + 1 - len(centre)))]
        gaps = []
        for number, marks in enumerate(finalists, start=1):
            gaps.append(self._trained(marks, rows[: self.params.final_rows], held, self.params.final_epochs)[1])
            self._tell(self.params.generations + number, f"finalist {number} of {len(finalists)}: gap {gaps[-1]:.2f}")
        return finalists[int(np.argmax(gaps))], gaps

    def _tell(self, done: int, note: str) -> None:
        self.ctx.progress(done, self.params.generations + self.params.finalists + 1, note)


def _checkpoint(seed: int, maps: FloatArray, network: PixelNetwork, history: History) -> dict[str, NDArray[Any]]:
    weights = {f"network/{name}": tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    return {"seed": np.array(seed), "maps": maps, **weights, **history.arrays()}


def _accuracy(network: PixelNetwork, data: ArrayDataset, device: str) -> float:
    right = 0
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(500):
            part = data.rows(rows.numpy())
            answers = network(torch.from_numpy(part.x).to(device)).argmax(1).cpu().numpy()
            right += int((answers == part.y).sum())
    return right / len(data)
