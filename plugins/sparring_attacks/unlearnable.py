"""Unlearnable examples: noise that makes training images easy, so that nothing else is learnt from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sparring.plugin import Act, AttackSpec, param
from sparring.threat import Goal, Norm, ThreatModel, When
from sparring_attacks.balls import ROUNDING, project
from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset, FloatArray, Poisoned, Targets

DEFAULT_EPSILON = 0.1


class Noise(StrEnum):
    SAMPLE = "sample-wise"
    CLASS = "class-wise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    noise: Noise = param(Noise.SAMPLE, "a noise for each image, or one for all images of a class")
    rounds: int = param(10, "rounds of training and of noise at most", at_least=1)
    training_steps: int = param(20, "steps of the network in each round (M)", at_least=1)
    noise_steps: int = param(5, "steps of the noise of each image in each round (T)", at_least=1)
    step_size: float | None = param(None, "of the noise; null: epsilon / 5", above=0, unit="[0, 1] pixels")
    stop_at_error: float = param(
        0.01, "stop once the network's error on all noisy images is at most this", at_least=0, at_most=1
    )
    channels: tuple[int, ...] = param((16, 32), "of the network's convolutions", at_least=1)
    fc: int = param(64, "width of its fully connected layer; 0: none", at_least=0)
    rate: float = param(2e-3, "learning rate of the network (Adam)", above=0)
    batch_size: int = param(100, "images per step", at_least=1)


class Unlearnable:
    """min over θ and |δ| <= ε of the loss L(f_θ(x + δ), y): a fresh network takes some steps on the noisy images, then
    the noise of all images takes some, both down the loss, and so on (Huang et al. 2021, section 4.2, equation 4, and
    algorithm 1).

    The noise of a class descends on the summed loss of its images in a batch. The network is the attacker's own.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def poison(
        self, train: ArrayDataset, threat: ThreatModel, targets: Targets | None, aux: Aux, ctx: Context
    ) -> Sequence[Poisoned]:
        import numpy as np

        from sparring.data import Poisoned

        fraction = 1.0 if threat.poison_fraction is None else threat.poison_fraction
        epsilon = DEFAULT_EPSILON if threat.epsilon is None else threat.epsilon
        rows = draw_rows(np.arange(len(train)), len(train), fraction, ctx.rng)
        images = train.rows(rows)
        x = images.x if epsilon <= ROUNDING or not len(rows) else self._noisy(images, epsilon, ctx)
        return [Poisoned(rows, x, images.y.astype(np.int64))]

    def _noisy(self, images: ArrayDataset, epsilon: float, ctx: Context) -> FloatArray:
        """(M, C, H, W) the images with their noise."""
        import torch

        from sparring.training_loop import initialised
        from sparring_attacks.confuse_networks import Classifier, laid_out

        params = self.params

        def build() -> Classifier:
            return Classifier(images.image_shape, images.classes, params.channels, params.fc, batch_norm=False)

        noised = _Noised.of(images, epsilon, params.noise, ctx)
        network = laid_out(initialised(build, ctx), ctx.device).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=params.rate)
        for round_ in range(params.rounds):
            for rows in noised.shuffled(params.batch_size, params.training_steps, ctx):
                noised.learn(network, optimiser, rows)
            wrong = 0
            for rows in torch.arange(len(noised.y), device=ctx.device).split(params.batch_size):
                wrong += noised.ease(network, rows, params.noise_steps, params.step_size or epsilon / 5)
                ctx.progress(round_, params.rounds, "rounds of noise")
            if wrong <= params.stop_at_error * len(noised.y):
                break
        return noised.all()


@dataclass(eq=False)
class _Noised:
    """Images x (M, C, H, W), labels y (M,), and noise (groups, C, H, W), of which image i has that of owner[i]."""

    x: Tensor
    y: Tensor
    owner: Tensor
    noise: Tensor
    epsilon: float

    @classmethod
    def of(cls, images: ArrayDataset, epsilon: float, noise: Noise, ctx: Context) -> _Noised:
        """With uniform noise to begin with."""
        import numpy as np
        import torch

        x, y = (torch.from_numpy(np.array(a)).to(ctx.device) for a in (images.x, images.y))
        owner = y if noise is Noise.CLASS else torch.arange(len(y), device=ctx.device)
        groups = images.classes if noise is Noise.CLASS else len(y)
        drawn = torch.rand((groups, *x.shape[1:]), generator=ctx.generator).to(ctx.device)
        return cls(x, y, owner, epsilon * (2 * drawn - 1), epsilon)

    def images(self, rows: Tensor) -> Tensor:
        return (self.x[rows] + self.noise[self.owner[rows]]).clamp(0, 1)

    def all(self) -> FloatArray:
        import numpy as np

        noisy = project(self.x + self.noise[self.owner], self.x, Norm.LINF, self.epsilon)
        return np.asarray(noisy.cpu().numpy())

    def shuffled(self, size: int, count: int, ctx: Context) -> Iterator[Tensor]:
        """`count` batches of rows, each pass in a new order."""
        import torch

        while count > 0:
            order = torch.randperm(len(self.y), generator=ctx.generator).to(self.y.device)
            batches = order.split(size)[:count]
            yield from batches
            count -= len(batches)

    def learn(self, network: nn.Module, optimiser: Optimizer, rows: Tensor) -> None:
        from torch.nn import functional as F  # noqa: N812

        optimiser.zero_grad()
        F.cross_entropy(network(self.images(rows)), self.y[rows]).backward()
        optimiser.step()

    def ease(self, network: nn.Module, rows: Tensor, steps: int, step_size: float) -> int:
        """Move the noise of these images down the loss; how many of them the network got wrong before the last step."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        wrong = 0
        for _ in range(steps):
            leaf = self.images(rows).requires_grad_(True)
            logits = network(leaf)
            (slope,) = torch.autograd.grad(F.cross_entropy(logits, self.y[rows], reduction="sum"), leaf)
            summed = torch.zeros_like(self.noise).index_add_(0, self.owner[rows], slope)
            self.noise = (self.noise - step_size * summed.sign()).clamp(-self.epsilon, self.epsilon)
            wrong = int((logits.argmax(dim=1) != self.y[rows]).sum())
        return wrong


SPEC = AttackSpec(
    name="unlearnable",
    summary="Noise on all training images that makes them easy to fit, so that a network learns the noise.",
    citation="Huang, Ma, Erfani, Bailey & Wang 2021, Unlearnable examples: making personal data unexploitable, "
    "section 4; arXiv 2101.04898",
    params=Params,
    load=Unlearnable,
    when=When.TRAINING,
    acts=frozenset({Act.POISON}),
    goals=(Goal.AVAILABILITY,),
    norms=(Norm.LINF,),
    reads=frozenset({"norm", "epsilon", "poison_fraction", "label_changes"}),
    threat=ThreatModel(norm=Norm.LINF, epsilon=DEFAULT_EPSILON, poison_fraction=1.0, label_changes=False),
)
