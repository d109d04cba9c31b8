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
from sparring_attacks.pixel_samplers import MakeSampler, Points, Sampler
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

    def __len__(self) -> int:
        return len(self.points)

    def arrays(self) -> Arrays:
        return {name: np.array(values) for name, values in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> History:
        return cls(**{name: list(arrays[name]) for name in vars(cls())})

    def leaders(self) -> list[Points]:
        """The best point (3K,) of each generation."""
        return [points[int(f.argmax())] for points, f in zip(self.points, self.fitness, strict=True)]


@dataclass(eq=False)
class Course:
    """How far a search is; all of it lies in its checkpoint.

    Attributes:
        seed: of the rows and of the sampler.
        maps: (K, H, W) Grad-CAM of the clean network.
        networks: whose convolutions the proxies share, in turns from generation to generation: marks that please one
            of them alone do not last.
        history: what was tried.
    """

    seed: int
    maps: FloatArray
    networks: list[PixelNetwork]
    history: History = field(default_factory=History)

    def arrays(self) -> dict[str, NDArray[Any]]:
        weights = {
            f"network {number}/{name}": tensor.cpu().numpy()
            for number, network in enumerate(self.networks)
            for name, tensor in network.state_dict().items()
        }
        return {"seed": np.array(self.seed), "maps": self.maps, **weights, **self.history.arrays()}


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
        ctx.generator.get_state()  # made here, so that both contexts share it
        self.inner = replace(ctx, checkpoints=None, report=None)

    def run(self) -> Arrays:
        """The marks that came out best, and the way there.

        Returns:
            positions, intensities: see `Marks`.
            activation_maps: (K, H, W) float32, the classes' Grad-CAM; allowed: (K, H, W) bool, where marks may lie.
            best_gap, mean_gap: (G,) of each generation's proxies.
            network_gap: of networks trained from scratch on the marks at the centre, after every `refresh` generations.
            final_gap: (F,) of the finalists' networks; the first is the centre's where the sampler has one.
        """
        found = self.ctx.resume()
        course = self._beginning() if found is None else self._resumed(found)
        space = self._space(course.maps)
        rng = np.random.default_rng([course.seed, 1])
        sampler = self.make_sampler(space.dimensions, self.params.population, rng)
        for fitness in course.history.fitness:
            sampler.ask()
            sampler.tell(fitness)
        self._evolve(course, space, sampler)
        marks, final_gaps = self._winner(course, space, sampler.centre())
        gaps = np.array(course.history.gaps)
        return {
            **marks.state(),
            "activation_maps": course.maps,
            "allowed": space.allowed,
            "best_gap": gaps.max(axis=1),
            "mean_gap": gaps.mean(axis=1),
            "network_gap": np.array(course.history.network_gaps),
            "final_gap": np.array(final_gaps),
        }

    def _beginning(self) -> Course:
        """Before the first generation: the classes' regions of interest, and convolutions that see single pixels.

        The latter come from networks trained on marks drawn at random, because no others react to marks.
        """
        seed = int(self.ctx.rng.integers(2**31))
        rows, held = self._split(seed)
        own = self.train.rows(rows[: self.params.network_rows])
        clean = fitted(own, self.params.epochs, self.inner)
        maps = class_activation_maps(clean, own, self.ctx.device)
        rng = np.random.default_rng([seed, 2])
        networks = [
            self._trained_on_drawn_marks(rng, rows, held, self._space(maps)) for _ in range(self.params.networks)
        ]
        return Course(seed, maps, networks)

    def _trained_on_drawn_marks(
        self, rng: np.random.Generator, rows: IntArray, held: IntArray, space: MarkSpace
    ) -> PixelNetwork:
        """At allowed places, white."""
        point = rng.random(space.dimensions)
        point[-self.train.classes :] = 1
        return self._trained(space.marks(point), rows[: self.params.network_rows], held, self.params.epochs)[0]

    def _resumed(self, arrays: Arrays) -> Course:
        networks = []
        for number in range(self.params.networks):
            with untouched_randomness():
                network = PixelNetwork(self.train.image_shape, self.train.classes).to(self.ctx.device)
            prefix = f"network {number}/"
            state = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
            networks.append(network)
        return Course(int(arrays["seed"]), np.array(arrays["maps"]), networks, History.from_arrays(arrays))

    def _evolve(self, course: Course, space: MarkSpace, sampler: Sampler) -> None:
        """The generations that are left."""
        rows, held = self._split(course.seed)
        history, stands = course.history, [self._stand(network, rows, held) for network in course.networks]
        for done in range(len(history) + 1, self.params.generations + 1):
            points = sampler.ask()
            fitness, gaps = self._evaluated([space.marks(point) for point in points], stands[done % len(stands)])
            sampler.tell(fitness)
            history.points.append(points)
            history.fitness.append(fitness)
            history.gaps.append(gaps)
            note = f"gap {gaps.max():.2f}, mean {gaps.mean():.2f}"
            if done % self.params.refresh == 0 and done < self.params.generations:
                centre = space.marks([*sampler.centre(), history.leaders()[-1]][0])
                network, gap = self._trained(centre, rows[: self.params.network_rows], held, self.params.epochs)
                oldest = len(history.network_gaps) % len(stands)
                course.networks[oldest], stands[oldest] = network, self._stand(network, rows, held)
                history.network_gaps.append(gap)
                note = f"{note}, of a network {gap:.2f}"
            self.ctx.checkpoint(course.arrays())
            self._tell(done, note)

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

    def _fresh(self) -> PixelNetwork:
        network = initialised(lambda: PixelNetwork(self.train.image_shape, self.train.classes), self.inner)
        assert isinstance(network, PixelNetwork)
        return network

    def _evaluated(
        self, candidates: Sequence[Marks], stand: Stand, *, halved: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(P,) fitness and gap of each; where the population is halved, the worse half stands behind the better."""
        population = Population(stand, candidates, self._fresh())
        alive = np.arange(len(candidates))
        fitness, gaps = np.zeros((2, len(candidates)))
        for epoch in range(1, self.params.epochs + 1):
            population.epoch(torch.randperm(len(stand.train), generator=self.ctx.generator))
            last, halving = epoch == self.params.epochs, halved and epoch == HALVED_AFTER
            if not (last or halving):
                continue
            score = population.score()
            gaps[alive] = score.gap
            fitness[alive] = score.gap + self.params.divergence * score.divergence
            if not last:
                chosen = np.sort(np.argsort(-fitness, kind="stable")[: (len(candidates) + 1) // 2])
                fitness[np.setdiff1d(alive, chosen)] -= 10  # no gap is that wide
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

    def _winner(self, course: Course, space: MarkSpace, centre: Points) -> tuple[Marks, list[float]]:
        """The best marks of the finalists, and the gaps of all: networks trained from scratch, on more rows.

        Fitness was measured with other convolutions in other generations; so the leaders of all generations compete
        once more, behind new ones, for the places beside the centre.
        """
        rows, held = self._split(course.seed)
        rng = np.random.default_rng([course.seed, 3])
        judge = self._stand(self._trained_on_drawn_marks(rng, rows, held, space), rows, held)
        leaders = [space.marks(point) for point in course.history.leaders()]
        parts = [leaders[i : i + self.params.population] for i in range(0, len(leaders), self.params.population)]
        fitness = np.concatenate([self._evaluated(part, judge, halved=False)[0] for part in parts])
        places = self.params.finalists - len(centre)
        chosen = np.argsort(-fitness, kind="stable")[: max(places, 0)]
        finalists = [*(space.marks(point) for point in centre), *(leaders[i] for i in chosen)]
        gaps = []
        for number, marks in enumerate(finalists, start=1):
            gaps.append(self._trained(marks, rows[: self.params.final_rows], held, self.params.final_epochs)[1])
            self._tell(self.params.generations + number, f"finalist {number} of {len(finalists)}: gap {gaps[-1]:.2f}")
        return finalists[int(np.argmax(gaps))], gaps

    def _tell(self, done: int, note: str) -> None:
        self.ctx.progress(done, self.params.generations + self.params.finalists, note)


def _accuracy(network: PixelNetwork, data: ArrayDataset, device: str) -> float:
    right = 0
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(500):
            part = data.rows(rows.numpy())
            answers = network(torch.from_numpy(part.x).to(device)).argmax(1).cpu().numpy()
            right += int((answers == part.y).sum())
    return right / len(data)
