"""A pool of adversarial examples, some of which are always being replaced, mixed into the training set."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    epsilon: float = param(0.1, "L-infinity budget of the examples", above=0, unit="[0, 1] pixels")
    steps: int = param(5, "gradient steps an example is made with; each is 2.5 epsilon / steps long", at_least=1)
    pool: float = param(1.0, "size of the pool, as a share of the training set", above=0)
    refreshed: float = param(0.25, "share of each batch that is attacked anew and enters the pool", above=0, at_most=1)


class ExamplePool:
    """Szegedy et al. 2014, section 4.2: "we keep a pool of adversarial examples a random subset of which is
    continuously replaced by newly generated adversarial examples and which is mixed into the original training set
    all the time".

    Each step trains on a batch of clean images and as many from the pool; part of the batch is attacked and takes the
    oldest places of the pool. The paper makes its examples by L-BFGS and also at hidden layers; here, by projected
    gradient steps, at the input.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        import torch
        from torch.nn import functional as F  # noqa: N812

        pool = _Pool(max(1, round(self.params.pool * len(train))), train.image_shape, ctx.device)

        def lesson(batch: Batch) -> Tensor:
            new = max(1, round(self.params.refreshed * len(batch.y)))
            pool.put(self.attacked(batch.network, batch.x[:new], batch.y[:new]), batch.y[:new])
            x, y = pool.drawn(len(batch.y), ctx.generator)
            logits: Tensor = batch.network(torch.cat([batch.x, x]))
            batch.descend(F.cross_entropy(logits, torch.cat([batch.y, y])))
            return logits[: len(batch.y)]

        return own_fit(victim, train, recipe, ctx, lesson)

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)

    def attacked(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Images within epsilon of `x` (N, C, H, W) that raise the loss."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        epsilon, step = self.params.epsilon, 2.5 * self.params.epsilon / self.params.steps
        training, x_adv = network.training, x
        network.eval()
        for _ in range(self.params.steps):
            leaf = x_adv.detach().clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(F.cross_entropy(network(leaf), y, reduction="sum"), leaf)
            x_adv = (leaf.detach() + step * gradient.sign()).clamp(x - epsilon, x + epsilon).clamp(0, 1)
        network.train(training)
        return x_adv.detach()


class _Pool:
    """A ring of images and labels."""

    def __init__(self, size: int, image_shape: tuple[int, int, int], device: str) -> None:
        import torch

        self._x = torch.zeros((size, *image_shape), device=device)
        self._y = torch.zeros(size, dtype=torch.int64, device=device)
        self._put = 0

    def put(self, x: Tensor, y: Tensor) -> None:
        import torch

        x, y = x[-len(self._y) :], y[-len(self._y) :]  # no place twice
        places = (self._put + torch.arange(len(y), device=y.device)) % len(self._y)
        self._x[places], self._y[places] = x, y
        self._put += len(y)

    def drawn(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        import torch

        rows = torch.randint(min(self._put, len(self._y)), (count,), generator=generator).to(self._y.device)
        return self._x[rows], self._y[rows]


SPEC = DefenceSpec(
    name="example-pool",
    summary="Trains on clean images and on a pool of adversarial examples that is renewed all the time.",
    citation="Szegedy et al. 2014, Intriguing properties of neural networks, section 4.2; arXiv 1312.6199",
    params=Params,
    load=ExamplePool,
    acts=frozenset({Act.OWN_FIT}),
    needs=frozenset({Access.WEIGHTS, Access.RECIPE}),
)
