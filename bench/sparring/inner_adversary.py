"""Adversarial examples made in the training loop, as an `InnerAdversary` describes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring.threat import Norm
from sparring.training import InnerAdversary


def mixed_loss(
    network: nn.Module, x: Tensor, y: Tensor, adversary: InnerAdversary, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """alpha * L(x) + (1 - alpha) * L(x_adv) (Goodfellow et al. 2015, section 6), and the logits on x_adv."""
    logits = network(adversarial(network, x, y, adversary, generator))
    loss = F.cross_entropy(logits, y)
    if adversary.clean_weight > 0:
        loss = torch.lerp(loss, F.cross_entropy(network(x), y), adversary.clean_weight)
    return loss, logits


def adversarial(
    network: nn.Module, x: Tensor, y: Tensor, adversary: InnerAdversary, generator: torch.Generator
) -> Tensor:
    """Images within epsilon of `x` and in [0, 1] that raise the loss: projected gradient ascent (Madry et al. 2018).

    The network is asked in eval mode, so that its batch statistics come from what it is trained on alone.
    """
    step = adversary.step_size
    if step is None:
        step = adversary.epsilon * (1.0 if adversary.steps == 1 else 2.5 / adversary.steps)
    training = network.training
    network.eval()
    start = random_start(x, adversary, generator) if adversary.random_start else x
    moved = start.detach()
    for _ in range(adversary.steps):
        leaf = moved.requires_grad_(True) if moved is not x else x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(leaf), y, reduction="sum"), leaf)
        moved = projected(leaf.detach() + step * direction(gradient, adversary.norm), x, adversary)
    network.train(training)
    return moved.detach()


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1, per image, that climbs fastest."""
    if norm is Norm.LINF:
        return gradient.sign()
    return gradient / lengths(gradient).clamp_min(1e-12)


def projected(moved: Tensor, x: Tensor, adversary: InnerAdversary) -> Tensor:
    """`moved`, brought back into the ball around `x`, then into [0, 1] (which stays inside the ball)."""
    change = moved - x
    if adversary.norm is Norm.LINF:
        change = change.clamp(-adversary.epsilon, adversary.epsilon)
    else:
        change = change * (adversary.epsilon / lengths(change).clamp_min(1e-12)).clamp_max(1.0)
    return (x + change).clamp_(0, 1)


def random_start(x: Tensor, adversary: InnerAdversary, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from the ball around each image, brought into [0, 1]."""
    if adversary.norm is Norm.LINF:
        change = torch.rand(x.shape, generator=generator) * 2 - 1
    else:
        change = direction(torch.randn(x.shape, generator=generator), Norm.L2)
        size = change[0].numel()
        change = change * torch.rand((len(x), 1, 1, 1), generator=generator) ** (1 / size)
    return (x + adversary.epsilon * change.to(x.device)).clamp_(0, 1)


def lengths(change: Tensor) -> Tensor:
    """(N, 1, 1, 1) Euclidean length per image."""
    sizes: Tensor = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
    return sizes
