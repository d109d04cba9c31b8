"""Parts of a victim's network that a repair acts on, found by looking at what flows through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparring.contracts import Context
    from sparring.data import ArrayDataset
    from sparring.model import Model


def in_batches(data: ArrayDataset, ctx: Context, size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
    """(x, y) of all rows, on the device."""
    import numpy as np
    import torch

    for start in range(0, len(data), size):
        part = data.rows(np.arange(start, min(start + size, len(data))))
        yield torch.from_numpy(np.array(part.x)).to(ctx.device), torch.from_numpy(np.array(part.y)).to(ctx.device)


def called_modules(network: nn.Module, image_shape: tuple[int, int, int], ctx: Context) -> list[nn.Module]:
    """The modules without children, in the order in which an image passes them."""
    import torch

    called: list[nn.Module] = []
    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda module, *_: called.append(module)) for leaf in leaves]
    with torch.no_grad():
        network(torch.zeros((1, *image_shape), device=ctx.device))
    for hook in hooks:
        hook.remove()
    return called


def head_of(model: Model, image_shape: tuple[int, int, int], ctx: Context) -> nn.Linear:
    """The last linear layer, which maps the features to the logits.

    Raises:
        ValueError: the network does not end in one.
    """
    from torch import nn

    last = called_modules(model.weights(), image_shape, ctx)[-1]
    if not isinstance(last, nn.Linear) or last.out_features != model.classes:
        raise ValueError(
            f"the network ends in a {type(last).__name__}, not in a linear layer of {model.classes} classes"
        )
    return last
