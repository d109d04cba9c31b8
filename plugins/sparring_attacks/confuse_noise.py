"""A generator's noise on images, and the generator as named arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import Arrays, FloatArray
from sparring.model import load_state, untouched_randomness
from sparring.training_loop import cut_batches, initialised
from sparring_attacks.confuse_networks import Generator, Shape, laid_out

BATCH = 256


def fresh_generator(shape: Shape, widths: Sequence[int], ctx: Context) -> Generator:
    """With weights drawn from `ctx.generator`: an encoder-decoder for grey images, a U-Net for coloured ones
    (section 5)."""
    network = initialised(lambda: Generator(shape, widths, skips=_skips(shape)), ctx)
    assert isinstance(network, Generator)
    return laid_out(network, ctx.device)


def restored_generator(shape: Shape, arrays: Arrays, ctx: Context) -> Generator:
    """The generator whose `network_arrays` these are, in eval mode. Its widths are read off them.

    Raises:
        ValueError: the arrays are not those of a generator, or of one for other images.
    """
    encoders = [name for name in arrays if name.startswith("encoders.") and arrays[name].ndim == 4]
    widths = [len(arrays[name]) for name in sorted(encoders)]
    try:
        with untouched_randomness():
            network = Generator(shape, widths, skips=_skips(shape))
        load_state(network, arrays)
    except (RuntimeError, LookupError):
        told = " x ".join(map(str, shape))
        raise ValueError(f"the arrays are no generator of DeepConfuse for images of {told}") from None
    return laid_out(network, ctx.device).eval()


def network_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Weights and running statistics, by name: for a generator, all that `restored_generator` needs."""
    return {name: tensor.detach().cpu().contiguous().numpy().copy() for name, tensor in network.state_dict().items()}


def settle(generator: Generator, x: Tensor) -> None:
    """Take the statistics of the generator's batch normalisations over `x`; one image leaves them as they are.

    The running ones lag behind a generator that learns fast: with them, it makes other noise than it was trained on.
    """
    if len(x) < 2:
        return
    normalisations = [part for part in generator.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in normalisations:
        part.reset_running_stats()
        part.momentum = None  # the plain mean over batches
    generator.train()
    with torch.no_grad():
        for batch in cut_batches(torch.arange(len(x), device=x.device), BATCH):
            generator(x[batch])
    generator.eval()


def noise_on(images: FloatArray, generator: Generator, epsilon: float, ctx: Context) -> FloatArray:
    """(N, C, H, W) float32 in [-epsilon, epsilon]: what the generator, in eval mode, would add to `images`."""
    if len(images) == 0:
        return images.copy()
    with torch.no_grad():
        parts = [generator(part.to(ctx.device)).cpu() for part in torch.from_numpy(images.copy()).split(BATCH)]
    noise: FloatArray = (epsilon * torch.cat(parts)).numpy().astype(np.float32)
    return noise


def with_noise(x: Tensor, generator: Generator, epsilon: float) -> Tensor:
    """x + g(x), clipped to [0, 1]; differentiable in the generator's parameters."""
    return torch.add(x, generator(x), alpha=epsilon).clamp(0, 1)


def under(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _skips(shape: Shape) -> bool:
    return shape[0] > 1
