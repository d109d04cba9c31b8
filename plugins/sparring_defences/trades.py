"""TRADES: accuracy on clean images, and the same answer around each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.own_training import Batch, own_fit

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sparring.contracts import Context, Victim
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe

START = 1e-3
"""Standard deviation of the noise that the inner maximisation starts from (the authors' code)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    epsilon: float = param(0.1, "L-infinity budget trained against", above=0, unit="[0, 1] pixels")
    steps: int = param(7, "gradient steps of the inner maximisation; each is 2.5 epsilon / steps long", at_least=1)
    beta: float = param(6.0, "weight of the difference (1 / lambda of the paper)", at_least=0)


class Trades:
    """Zhang et al. 2019, algorithm 1: cross-entropy on the image plus beta times the Kullback-Leibler divergence from
    the prediction on the image to that on the image within epsilon where it is largest."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        from torch.nn import functional as F  # noqa: N812

        def lesson(batch: Batch) -> Tensor:
            moved = self.moved(batch.network, batch.x, ctx.generator)
            logits: Tensor = batch.network(batch.x)
            loss = F.cross_entropy(logits, batch.y)
            batch.descend(loss + self.params.beta * _divergence(batch.network(moved), logits) / len(moved))
            return logits

        return own_fit(victim, train, recipe, ctx, lesson)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)

    def moved(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """Images within epsilon of `x` (N, C, H, W) on which the prediction differs most; in eval mode, as the
        authors do."""
        import torch

        epsilon, step = self.params.epsilon, 2.5 * self.params.epsilon / self.params.steps
        training = network.training
        network.eval()
        with torch.no_grad():
            plain = network(x)
        x_adv = (x + START * torch.randn(x.shape, generator=generator).to(x.device)).clamp(0, 1)
        for _ in range(self.params.steps):
            leaf = x_adv.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(_divergence(network(leaf), plain), leaf)
            x_adv = (leaf.detach() + step * gradient.sign()).clamp(x - epsilon, x + epsilon).clamp(0, 1)
        network.train(training)
        return x_adv.detach()


def _divergence(moved: Tensor, plain: Tensor) -> Tensor:
    """Summed KL(plain || moved) of logits (N, K)."""
    from torch.nn import functional as F  # noqa: N812

    return F.kl_div(moved.log_softmax(dim=1), plain.softmax(dim=1), reduction="sum")


SPEC = DefenceSpec(
    name="trades",
    summary="Trains for right answers on images and the same answers around them.",
    citation="Zhang et al. 2019, Theoretically principled trade-off between robustness and accuracy, algorithm 1; "
    "arXiv 1901.08573",
    params=Params,
    load=Trades,
    acts=frozenset({Act.OWN_FIT}),
    needs=frozenset({Access.WEIGHTS, Access.RECIPE}),
)
