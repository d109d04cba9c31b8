"""GenAttack: a genetic algorithm within the L-infinity ball."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Access, Goal, Norm, ThreatModel, When

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.model import MeteredModel

DECAY = 0.9
"""Factor of mutation rate and range at each plateau."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    population: int = param(6, "candidates of an image in each generation", at_least=2)
    mutation_rate: float = param(0.2, "share of the values of a child that mutate, to begin with", above=0, at_most=1)
    least_rate: float = param(0.05, "share that it sinks to on plateaus", above=0, at_most=1)
    mutation_range: float = param(1.0, "how far a mutation goes, as a part of epsilon, to begin with", above=0)
    least_range: float = param(0.15, "part that it sinks to on plateaus", above=0)
    patience: int = param(100, "generations without a better candidate that make a plateau", at_least=1)
    temperature: float = param(0.3, "of the selection: the lower, the more the fittest are preferred", above=0)


class GenAttack:
    """Populations of perturbations under selection, crossover and mutation; the fittest survives (Alzantot et al. 2019,
    algorithm 1), with mutation rate and range that sink on plateaus (their adaptive parameter scaling).

    Fitness is the margin, so that scores are enough. As scores have no scale, it is divided by its standard deviation
    over the population before the softmax that selects parents. The survivor's fitness is known, so that a generation
    costs one query less than its size. The default rates and ranges are this plugin's own, for budgets of some hundreds
    of queries, and not those of the paper's experiments.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def perturb(self, model: MeteredModel, x: Tensor, y: Tensor, threat: ThreatModel, aux: Aux, ctx: Context) -> Tensor:
        import torch

        from sparring_attacks.aim import Aim
        from sparring_attacks.balls import ROUNDING
        from sparring_attacks.query_ledger import QueryLedger, progress

        stated = threat.over(SPEC.threat)
        epsilon, size = stated.epsilon or 0.0, self.params.population
        if epsilon <= ROUNDING:
            return x.clone()
        ledger = QueryLedger(model, Aim.of(threat, y, aux), stated.query_budget or 0)
        people = epsilon * _uniform((len(x), size, *x.shape[1:]), x, ctx)
        people[:, 0] = 0  # the clean image: the first survivor
        losses = torch.full((len(x), size), float("inf"), device=x.device)
        rows = ledger.affording(1)
        losses[rows, 0] = ledger.judge(rows, x[rows])
        plateaus, waited = torch.zeros(len(x), device=x.device), torch.zeros(len(x), device=x.device)
        while len(rows := ledger.standing(size - 1)):
            losses[rows, 1:] = ledger.margins(rows, _images(x, people, rows, epsilon)[:, 1:])
            fittest = losses[rows].amin(dim=1)
            ledger.note(rows, fittest < 0)
            waited[rows] = (waited[rows] + 1).masked_fill(fittest < losses[rows, 0], 0)
            plateaus[rows] += waited[rows] >= self.params.patience
            waited[rows] %= self.params.patience
            progress(ledger, rows, ctx)
            if len(rows := ledger.standing(size - 1)) == 0:
                break
            people[rows], losses[rows, 0] = self._bred(people[rows], losses[rows], plateaus[rows], epsilon, ctx)
        ledger.report(ctx)
        everyone = torch.arange(len(x), device=x.device)
        return _images(x, people, everyone, epsilon)[everyone, losses.argmin(dim=1)]

    def _bred(
        self, people: Tensor, losses: Tensor, plateaus: Tensor, epsilon: float, ctx: Context
    ) -> tuple[Tensor, Tensor]:
        """The next generations (M, P, C, H, W), each behind its survivor, and the survivors' losses (M,)."""
        import torch

        params, count = self.params, people.shape[1] - 1
        alone, survivor = torch.arange(len(people), device=people.device), losses.argmin(dim=1)
        scale = params.temperature * losses.std(dim=1, keepdim=True).clamp(min=1e-12)
        chance = (-losses / scale).softmax(dim=1)
        parents = torch.multinomial(chance.cpu(), 2 * count, replacement=True, generator=ctx.generator)
        first, second = parents.to(people.device).split(count, dim=1)
        weight, other = chance.gather(1, first), chance.gather(1, second)
        from_first = _uniform((len(people), count, *people.shape[2:]), people, ctx) * 0.5 + 0.5
        crossed = people[alone[:, None], first].where(
            from_first < _spread(weight / (weight + other)), people[alone[:, None], second]
        )
        faded = DECAY**plateaus
        rate = (params.mutation_rate * faded).clamp(min=min(params.least_rate, params.mutation_rate))
        reach = (params.mutation_range * faded).clamp(min=min(params.least_range, params.mutation_range))
        mutates = _uniform(crossed.shape, crossed, ctx) * 0.5 + 0.5 < _spread(rate[:, None])
        children = crossed + mutates * _spread(reach[:, None]) * epsilon * _uniform(crossed.shape, crossed, ctx)
        survivors = people[alone, survivor][:, None]
        return torch.cat([survivors, children.clamp(-epsilon, epsilon)], dim=1), losses[alone, survivor]


def _uniform(shape: Sequence[int], like: Tensor, ctx: Context) -> Tensor:
    """Uniform in [-1, 1)."""
    import torch

    return (2 * torch.rand(tuple(shape), generator=ctx.generator) - 1).to(like.device)


def _spread(values: Tensor) -> Tensor:
    """(M, Q) as (M, Q, 1, 1, 1)."""
    return values[:, :, None, None, None]


def _images(x: Tensor, people: Tensor, rows: Tensor, epsilon: float) -> Tensor:
    """(M, P, C, H, W) what the perturbations of the images `rows` make of them, within the ball and [0, 1]."""
    from sparring_attacks.balls import project

    clean = x[rows, None].expand_as(people[rows]).flatten(0, 1)
    return project(clean + people[rows].flatten(0, 1), clean, Norm.LINF, epsilon).view_as(people[rows])


SPEC = AttackSpec(
    name="gen-attack",
    summary="A genetic algorithm over perturbations: the fittest survives, the others are crossed and mutated.",
    citation="Alzantot, Sharma, Chakraborty, Zhang, Hsieh, Srivastava 2019, GenAttack: practical black-box attacks "
    "with gradient-free optimization, algorithm 1; arXiv 1805.11090",
    params=Params,
    load=GenAttack,
    when=When.INFERENCE,
    acts=frozenset({Act.PERTURB}),
    goals=(Goal.EVASION, Goal.TARGETED),
    norms=(Norm.LINF,),
    reads=frozenset({"goal", "norm", "epsilon", "query_budget", "adaptive"}),
    threat=ThreatModel(goal=Goal.EVASION, norm=Norm.LINF, epsilon=0.1, query_budget=2000),
    needs=frozenset({Access.SCORES}),
)
