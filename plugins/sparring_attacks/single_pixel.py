"""The single-pixel poison whose marks CMA-ES searches for: where a network does not look, and follows all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.pixel_search_params import DEFAULT_FRACTION, SearchedPixel, SearchParams

if TYPE_CHECKING:
    from sparring_attacks.pixel_samplers import MakeSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(SearchParams):
    sigma: float = param(0.12, "first step size of CMA-ES for rows and columns, of the image's side", above=0)
    intensity_sigma: float = param(
        0.3, "the same of the intensities, wide enough to turn some marks on or off", above=0
    )
    scouts: int = param(8, "generations drawn uniformly; CMA-ES starts from the best of them", at_least=0)


class SinglePixel(SearchedPixel[Params]):
    """One pixel and one intensity per class, outside the class's region of interest (Grad-CAM of a clean network).

    CMA-ES searches the 3K numbers; fitness is the generalisation gap of a proxy trained from scratch on marked rows,
    measured on clean training rows that it does not see. The best candidates and the mean of the distribution are
    judged again by networks trained longer; the winner is written.
    """

    def sampler(self) -> MakeSampler:
        from functools import partial

        from sparring_attacks.pixel_samplers import CmaSampler

        widths = (1.0, 1.0, self.params.intensity_sigma / self.params.sigma)
        return partial(CmaSampler, sigma=self.params.sigma, widths=widths, scouts=self.params.scouts)


SPEC = AttackSpec(
    name="single-pixel",
    summary="One pixel per class, its place and intensity found by CMA-ES, in all training images of the class.",
    citation="Chaudhury 2020, Understanding generalization in neural networks for robustness against adversarial "
    "vulnerabilities (AAAI doctoral consortium), section 1",
    params=Params,
    load=SinglePixel,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
