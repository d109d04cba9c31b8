"""The network behind the victims here: one hidden layer."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from sparring.contracts import Context
from sparring.data import Arrays
from sparring.model import NetworkModel, load_state, untouched_randomness
from sparring.training_loop import initialised


class OneHiddenLayer(nn.Module):
    """(N, C, H, W) to (N, K); the features are the hidden layer."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.head = nn.Linear(hidden, classes)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.hidden(x.flatten(1)).relu()
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def fresh(image_shape: tuple[int, int, int], hidden: int, classes: int, ctx: Context) -> OneHiddenLayer:
    """Initialised from the stage's seed."""
    network = initialised(lambda: OneHiddenLayer(prod(image_shape), hidden, classes), ctx)
    assert isinstance(network, OneHiddenLayer)
    return network


def restored(state: Arrays, ctx: Context) -> NetworkModel:
    """The model whose `state()` this is; the weights say how large it is."""
    hidden, inputs = state["hidden.weight"].shape
    classes = len(state["head.bias"])
    with untouched_randomness():
        network = OneHiddenLayer(inputs, hidden, classes)
    return NetworkModel(load_state(network, state).to(ctx.device), classes)
