"""The control of `single-pixel`: as many evaluations of the same proxies, spent on uniform draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec
from sparring.threat import Goal, ThreatModel, When
from sparring_attacks.pixel_search_params import DEFAULT_FRACTION, SearchedPixel, SearchParams

if TYPE_CHECKING:
    from sparring_attacks.pixel_samplers import MakeSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(SearchParams):
    """The same; nothing is learnt from one generation to the next."""


class RandomSearchPixel(SearchedPixel[Params]):
    """Marks drawn uniformly where `single-pixel` may put them, judged as it judges, the best kept."""

    def sampler(self) -> MakeSampler:
        from sparring_attacks.pixel_samplers import UniformSampler

        return UniformSampler


SPEC = AttackSpec(
    name="random-search-pixel",
    summary="One pixel per class, the best of as many uniform draws as single-pixel evaluates.",
    citation="Control of Chaudhury 2020, Understanding generalization in neural networks for robustness against "
    "adversarial vulnerabilities (AAAI doctoral consortium), section 1",
    params=Params,
    load=RandomSearchPixel,
    when=When.TRAINING,
    acts=frozenset({Act.POISON, Act.PROBES}),
    goals=(Goal.AVAILABILITY,),
    reads=frozenset({"poison_fraction"}),
    threat=ThreatModel(poison_fraction=DEFAULT_FRACTION),
)
