"""Randomised smoothing: the answer under Gaussian noise, and the radius within which it is certain to stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.own_training import Batch, own_fit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sparring.contracts import Certificate, Context, Victim
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Guard, Model
    from sparring.training import Recipe

AT_ONCE = 4
"""Images that are certified between two reports of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    sigma: float = param(0.25, "standard deviation of the noise", above=0, unit="[0, 1] pixels")
    votes: int = param(16, "noisy copies of an image that the guard asks", at_least=1)
    selection: int = param(100, "noisy copies by which the certified class is chosen (n0)", at_least=1)
    estimation: int = param(1000, "noisy copies by which its probability is bounded (n)", at_least=1)
    alpha: float = param(0.001, "probability that a certificate is wrong", above=0, below=1)


class RandomisedSmoothing:
    """Cohen et al. 2019. The guard answers by a vote under noise (without the abstention of PREDICT). CERTIFY (section
    3.2): the class with most of `selection` votes; the one-sided Clopper-Pearson lower bound p of its probability from
    `estimation` further votes; if p > 1/2 the radius sigma * Phi^-1(p) in L2 (theorem 1), else it abstains.

    The paper takes n = 100,000; with n copies no radius above sigma * Phi^-1(alpha^(1/n)) can be certified, 2.46 sigma
    with the defaults.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from sparring.model import Guard
        from sparring_defences.smoothed_model import SmoothedModel

        smoothed = SmoothedModel(model, self.params.sigma, self.params.votes, ctx.generator)
        return Guard(smoothed, randomised=True)

    def certify(self, model: Model, x: Tensor, ctx: Context) -> Certificate:
        """`model` is what `guard` returned. Raises `TypeError` for any other."""
        import numpy as np
        import torch

        from sparring.contracts import Certificate
        from sparring_defences.smoothed_model import SmoothedModel

        p = self.params
        if not isinstance(model, SmoothedModel):
            raise TypeError(f"randomised-smoothing certifies what it guards, not a {type(model).__name__}")
        chosen, hits = [], []
        for done, part in enumerate(x.split(AT_ONCE)):
            label = model.counts(part, p.selection).argmax(dim=1)
            hits.append(model.counts(part, p.estimation).gather(1, label[:, None])[:, 0])
            chosen.append(label)
            ctx.progress(done * AT_ONCE + len(part), len(x), "images certified")
        prediction = torch.cat(chosen).cpu().numpy()
        least = lower_bound(torch.cat(hits).cpu().numpy(), p.estimation, p.alpha)
        radius = certified_radius(least, p.sigma)
        return Certificate(np.where(least > 0.5, prediction, -1), radius, "l2", confidence=1 - p.alpha)


class TrainedSmoothing(RandomisedSmoothing):
    """The same, in front of a model that was trained with the same noise (Cohen et al. 2019, section 3.3)."""

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        def noisy(batch: Batch) -> Tensor:
            import torch

            noise = torch.randn(batch.x.shape, generator=ctx.generator).to(batch.x.device)
            return batch.update(batch.x + self.params.sigma * noise)

        return own_fit(victim, train, recipe, ctx, noisy)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)


def lower_bound(hits: NDArray[Any], tries: int, alpha: float) -> NDArray[Any]:
    """One-sided Clopper-Pearson bound: with probability 1 - alpha the chance of a hit is at least this."""
    import numpy as np
    from scipy.stats import beta

    bound = beta.ppf(alpha, np.maximum(hits, 1), tries - hits + 1)
    return np.asarray(np.where(hits > 0, bound, 0.0), dtype=np.float64)


def certified_radius(least: NDArray[Any], sigma: float) -> NDArray[Any]:
    """sigma * Phi^-1(least), 0 where `least` is at most one half (theorem 1, with 1 - p_A for p_B)."""
    import numpy as np
    from scipy.stats import norm

    return np.asarray(sigma * norm.ppf(np.clip(least, 0.5, 1.0)), dtype=np.float64)


CITATION = (
    "Cohen, Rosenfeld, Kolter 2019, Certified adversarial robustness via randomized smoothing, section 3; "
    "arXiv 1902.02918"
)

SPEC = DefenceSpec(
    name="randomised-smoothing",
    summary="Answers by a vote under Gaussian noise, and certifies a radius in L2.",
    citation=CITATION,
    params=Params,
    load=RandomisedSmoothing,
    acts=frozenset({Act.GUARD, Act.CERTIFY}),
    needs=frozenset({Access.DECISIONS}),
)

TRAINED = DefenceSpec(
    name="trained-smoothing",
    summary="Trains with Gaussian noise, then answers by a vote under it and certifies a radius in L2.",
    citation=CITATION,
    params=Params,
    load=TrainedSmoothing,
    acts=frozenset({Act.OWN_FIT, Act.GUARD, Act.CERTIFY}),
    needs=frozenset({Access.DECISIONS, Access.WEIGHTS, Access.RECIPE}),
)
