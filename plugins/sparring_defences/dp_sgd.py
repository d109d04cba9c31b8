"""Differentially private training: clipped gradients of single images, and noise on their sum."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.own_training import untrained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Context, Victim
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe

AT_ONCE = 64
"""Images whose gradients are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    epsilon: float = param(8.0, "privacy that all epochs together may cost", above=0)
    delta: float = param(1e-5, "probability with which it may cost more", above=0, below=1)
    clip: float = param(1.0, "largest L2 length of one image's gradient", above=0)


class DpSgd:
    """Abadi et al. 2016, algorithm 1: each step takes every row with probability batch size / N, clips the gradient
    of each, adds Gaussian noise to the sum, and hands the mean to the recipe's optimiser. The noise is the least with
    which all steps are (epsilon, delta)-private, by the Renyi accountant of the sampled Gaussian mechanism (Mironov
    et al. 2019, section 3.3), as in Opacus. A single row has little say then, poisoned or not (Hong et al. 2020,
    arXiv 2002.11497).

    The network trains in eval mode: batch normalisation would mix rows, and keeps its initial statistics. The recipe's
    `stop_at_error` is not followed, as it would look at the rows without noise.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, victim: Victim, train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model:
        import numpy as np
        import torch

        from sparring.augmentation import augment
        from sparring.model import NetworkModel
        from sparring.optimisation import make_optimiser, rate_factor, set_rate
        from sparring_defences.privacy import noise_for

        network = untrained(victim, train, recipe, ctx).eval()
        own = {name: p for name, p in network.named_parameters() if p.requires_grad}
        optimiser = make_optimiser(own.values(), recipe)
        x, y = (torch.from_numpy(np.array(array)).to(ctx.device) for array in (train.x, train.y))
        share = min(1.0, recipe.batch_size / len(train))
        steps = max(1, round(recipe.epochs / share))
        noise = noise_for(self.params.epsilon, self.params.delta, share, steps)
        for step in range(steps):
            set_rate(optimiser, recipe.learning_rate * rate_factor(recipe.schedule, step / steps))
            rows = (torch.rand(len(y), generator=ctx.generator) < share).nonzero()[:, 0].to(ctx.device)
            images = augment(x[rows], recipe.augmentation, ctx.generator)
            sums = self._clipped_sums(network, own, images, y[rows])
            for name, parameter in own.items():
                drawn = torch.randn(parameter.shape, generator=ctx.generator).to(ctx.device)
                parameter.grad = (sums[name] + noise * self.params.clip * drawn) / (share * len(y))
            optimiser.step()
            ctx.progress(step + 1, steps, f"noise multiplier {noise:.2f}")
        return NetworkModel(network, train.classes)

    def _clipped_sums(
        self, network: nn.Module, own: dict[str, nn.Parameter], x: Tensor, y: Tensor
    ) -> dict[str, Tensor]:
        """Sums of the gradients at single images, each at most `clip` long, by parameter."""
        import torch
        from torch.func import functional_call, grad, vmap
        from torch.nn import functional as F  # noqa: N812

        def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(network, parameters, (image[None],)), label[None])

        now = {name: p.detach() for name, p in own.items()}
        sums = {name: torch.zeros_like(p) for name, p in now.items()}
        for images, labels in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            if len(labels) == 0:
                continue
            with _usual_layout():
                gradients = vmap(grad(loss), in_dims=(None, 0, 0))(now, images, labels)
            lengths = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
            weight = (self.params.clip / lengths.clamp_min(1e-12)).clamp_max(1.0)
            for name, gradient in gradients.items():
                sums[name] += torch.einsum("n,n...->...", weight, gradient)
        return sums

    def restore(self, victim: Victim, state: Arrays, ctx: Context) -> Model:
        return victim.restore(state, ctx)


def _usual_layout() -> AbstractContextManager[object]:
    """Where `vmap` does not know a layout of memory that a network asks for, it gets the usual one, of the same values
    ("Tensor.clone(memory_format) inside vmap is only supported with ... contiguous_format")."""
    from torch import Tensor
    from torch.overrides import TorchFunctionMode

    class UsualLayout(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0].contiguous() if func is Tensor.contiguous else func(*args, **(kwargs or {}))

    return UsualLayout()


SPEC = DefenceSpec(
    name="dp-sgd",
    summary="Trains with clipped gradients and noise, so that no row has much say.",
    citation="Abadi et al. 2016, Deep learning with differential privacy, algorithm 1, arXiv 1607.00133; "
    "Mironov, Talwar, Zhang 2019, Renyi differential privacy of the sampled Gaussian mechanism, arXiv 1908.10530",
    params=Params,
    load=DpSgd,
    acts=frozenset({Act.OWN_FIT}),
    needs=frozenset({Access.WEIGHTS, Access.RECIPE}),
)
