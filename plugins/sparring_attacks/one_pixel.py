"""The one-pixel attack: differential evolution over the place and the values of a few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When
from sparring_attacks import torchattacks_adapter
from sparring_attacks.aim import Aim

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

SMALLEST_POPULATION = 5
"""torchattacks' differential evolution has no smaller one (_differential_evolution.py, `num_population_members`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    population: int = param(100, "candidates of one generation, about", at_least=SMALLEST_POPULATION)
    generations: int = param(20, "generations at most", at_least=1)


class OnePixel:
    """Changes as many pixels as epsilon says (L0). A candidate is a place and a value per channel for each of them;
    its fitness the probability of the true (targeted: wanted) label. Stops at the first generation whose best one
    reaches the aim, and returns the best one in any case (Su et al. 2019, section 3; the paper: 400 candidates, 100
    generations). torchattacks makes children from the best candidate and with a random scale of 0.5 to 1, where the
    paper makes them from a random one with 0.5 (_differential_evolution.py, `strategy` and `mutation`).

    Asks for the population in every generation and once before, and for the best one after each. A query budget
    lowers the generations, then the population.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torchattacks

        pixels = min(int(threat.epsilon or 0.0), x.shape[2] * x.shape[3])
        genes = pixels * (2 + x.shape[1])
        members, generations = affordable(self.params, genes, threat.query_budget)
        if pixels == 0 or generations == 0:
            return x.clone()

        def build(module: nn.Module, seed: int) -> Any:
            return torchattacks.OnePixel(
                _logarithms(torchattacks_adapter.stoppable(module, ctx)),
                pixels=pixels,
                steps=generations,
                popsize=members,
                inf_batch=1024,
            )

        # images are attacked one by one within a batch; a batch of one reports progress after each
        return torchattacks_adapter.run(build, model, x, Aim.of(threat, y, aux), ctx, batch_size=1)


def _logarithms(module: nn.Module) -> nn.Module:
    """`module` with the logarithms of its probabilities: torchattacks applies softmax to whatever comes (onepixel.py,
    `_get_prob`), and softmax of these gives the probabilities back."""

    def logarithms(_: nn.Module, __: object, probabilities: Tensor) -> Tensor:
        return probabilities.clamp_min(1e-30).log()

    module.register_forward_hook(logarithms)
    return module


def affordable(params: Params, genes: int, query_budget: int | None) -> tuple[int, int]:
    """(population, generations) that `query_budget` evaluations per image pay for; no generation where it does not
    pay for one. The population that is really made is `made_members` of it."""
    population = params.population
    if query_budget is None:
        return population, params.generations
    while population > SMALLEST_POPULATION and 2 * made_members(population, genes) + 1 > query_budget:
        population //= 2
    made = made_members(population, genes)
    return population, max(0, min(params.generations, (query_budget - made) // (made + 1)))


def made_members(population: int, genes: int) -> int:
    """Members of torchattacks' population for `popsize` of `population`: a multiple of the genes (onepixel.py,
    `popmul`)."""
    return max(SMALLEST_POPULATION, max(1, population // max(genes, 1)) * genes)


SPEC = AttackSpec(
    name="one-pixel",
    summary="Differential evolution over the place and the values of as few pixels as epsilon says.",
    citation="Su, Vargas, Sakurai 2019, One pixel attack for fooling deep neural networks, section 3; arXiv 1710.08864",
    params=Params,
    load=OnePixel,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.L0,),
    reads=frozenset({"goal", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.L0, epsilon=1.0),
    needs=frozenset({Access.PROBABILITIES}),
)
