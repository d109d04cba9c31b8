"""Batch normalisation by the statistics of the batch at hand, at prediction time too."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sparring_victims.batch_norm_params import Statistics

M = TypeVar("M", bound=nn.Module)


class BatchStatisticsNorm(nn.BatchNorm2d):
    """In eval mode it normalises by the mean and variance of the batch it sees, so that an answer depends on what else
    is asked for. `NetworkModel` predicts 512 images at a time, and what is left of the test set in a last, smaller
    batch; gradients are those of the batch that the attacker asks for. A batch with one value per channel has no
    variance: there the running averages stand in.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.numel() == x.shape[1] or len(x) == 0:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, momentum=0.0, eps=self.eps)


def with_statistics(network: M, statistics: Statistics) -> M:
    """`network`, each batch normalisation in it replaced where statistics of the batch are asked for."""
    if statistics is Statistics.BATCH:
        _replace(network)
    return network


def _replace(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = BatchStatisticsNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(network, name, norm)
        else:
            _replace(child)
