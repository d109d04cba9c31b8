"""The labelled images that an attacker at inference works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Aux, Context
    from sparring.data import ArrayDataset


def attacker_data(aux: Aux) -> ArrayDataset:
    """The rows that the suite cuts for the attacker; where it cuts none, the training set.

    Raises:
        ValueError: there are neither: the attack does not declare `TRAINING_DATA`.
    """
    data = aux.train if aux.attacker_val is None else aux.attacker_val
    if data is None:
        raise ValueError("neither attacker_val nor train was handed over; declare Access.TRAINING_DATA")
    return data


def drawn_images(aux: Aux, count: int, ctx: Context) -> tuple[Tensor, Tensor]:
    """At most `count` images (M, C, H, W) of the attacker's, and their labels (M,), in random order."""
    import torch

    data = attacker_data(aux)
    chosen = data.rows(ctx.rng.permutation(len(data))[:count])
    return torch.tensor(chosen.x).to(ctx.device), torch.tensor(chosen.y).to(ctx.device)
