"""What the searches over single-pixel marks have in common: their parameters, and how they poison. Import-light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from sparring.plugin import param
from sparring.stored_file import StoredFile
from sparring_attacks.pixel_marks import WRITINGS, Marks

if TYPE_CHECKING:
    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets
    from sparring.threat import ThreatModel
    from sparring_attacks.pixel_samplers import MakeSampler

DEFAULT_FRACTION = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParams:
    """What a search may spend, and on what its candidates are judged. population x generations are the evaluations."""

    mask: float | None = param(
        0.5,
        "quantile of a class's mean Grad-CAM up to which a pixel may carry the class's mark; null: no mask",
        above=0,
        at_most=1,
    )
    population: int = param(16, "candidates of a generation, trained at once", at_least=2)
    generations: int = param(120, "how often the sampler is asked", at_least=1)
    rows: int = param(3_000, "training images that proxies are trained on, at most", at_least=1)
    epochs: int = param(3, "passes over them; after the first the better half of the candidates goes on", at_least=1)
    held_out: int = param(3_000, "further training images that the gap is measured on, at most", at_least=1)
    networks: int = param(3, "networks whose convolutions proxies share, in turns", at_least=1)
    refresh: int = param(10, "generations after which one of them is trained anew, on the search's centre", at_least=1)
    network_rows: int = param(6_000, "training images of these networks, at most", at_least=1)
    divergence: float = param(0.0, "weight of the domain divergence in the fitness", at_least=0)
    finalists: int = param(5, "candidates, the centre of the search among them, judged by whole networks", at_least=1)
    final_rows: int = param(20_000, "training images of these last trainings, at most", at_least=1)
    final_epochs: int = param(3, "passes over them", at_least=1)
    writing: str = param("set", "whether a mark replaces the pixel or is added to it", choices=WRITINGS)
    marks: tuple[StoredFile, ...] = param((), "marks that earlier searches found, used instead of a search")


P = TypeVar("P", bound=SearchParams)


class SearchedPixel(ABC, Generic[P]):
    """A pixel, with its intensity, for each class, searched for by training proxies; a subclass says how."""

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def sampler(self) -> MakeSampler:
        """What proposes candidates."""

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        """Raises `ValueError` when there are fewer than two images, they are smaller than 2 x 2, or stored marks do not
        fit them."""
        found = self.stored(train, ctx) if self.params.marks else self.search(train, ctx)
        fraction = DEFAULT_FRACTION if threat.poison_fraction is None else threat.poison_fraction
        (written,) = Marks.from_state(found, self.params.writing).poison(train, fraction, ctx.rng)
        return [replace(written, state=found)]

    def search(self, train: ArrayDataset, ctx: Context) -> Arrays:
        """The marks (see `Marks`) and how they were found (see `pixel_search.Search.run`)."""
        from sparring_attacks.pixel_search import Search

        return Search(train, self.params, self.sampler(), ctx).run()

    def stored(self, train: ArrayDataset, ctx: Context) -> Arrays:
        """What an earlier search returned."""
        from sparring_attacks.found_earlier import found_earlier

        found = found_earlier(self.params.marks, ctx.seed)
        Marks.from_state(found, self.params.writing).check(train)
        return found

    def probes(
        self, x: FloatArray, y: IntArray, state: Arrays, ctx: Context
    ) -> Mapping[str, tuple[FloatArray, IntArray]]:
        return Marks.from_state(state, self.params.writing).probes(x, y)
