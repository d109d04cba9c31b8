"""Fine-pruning: channels that sleep on clean images are cut, and the rest is trained a little on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, DefenceSpec, param
from sparring.threat import Access
from sparring_defences.network_parts import called_modules, in_batches

if TYPE_CHECKING:
    import torch.utils.hooks
    from torch import Tensor, nn

    from sparring.contracts import Context, Finding
    from sparring.data import ArrayDataset
    from sparring.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    tolerance: float = param(0.04, "accuracy on the clean rows that pruning may cost", at_least=0, at_most=1)
    most: float = param(0.95, "largest share of the channels that is pruned", at_least=0, below=1)
    epochs: int = param(5, "passes over the clean rows while fine-tuning", at_least=0)
    learning_rate: float = param(1e-3, "of fine-tuning, by Adam", above=0)


class FinePruning:
    """Liu et al. 2018, section 3: channels of the last convolution, by their mean activation on the defender's clean
    rows, the most dormant first, are set to 0 until accuracy on these rows falls by `tolerance`; then the network is
    trained on them, pruned channels staying out. Where there is no convolution, the units before the last linear
    layer are pruned.

    Activations are counted where they are positive, as the ReLU behind the layer (or its batch normalisation) does.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def repair(self, model: Model, defender_clean: ArrayDataset, finding: Finding | None, ctx: Context) -> Model:
        from sparring.model import NetworkModel
        from sparring.training import Recipe
        from sparring.training_loop import train

        network = model.weights()
        layers = _prunable(called_modules(network, defender_clean.image_shape, ctx))
        dead = self._prune(model, layers, defender_clean, ctx)
        if self.params.epochs:
            network.requires_grad_(True)
            hooks = [_keep_zero(parameter, dead) for layer in layers for parameter in layer.parameters()]
            recipe = Recipe(learning_rate=self.params.learning_rate, epochs=self.params.epochs, batch_size=32)
            train(network, defender_clean, recipe, ctx)
            for hook in hooks:
                hook.remove()
        return NetworkModel(network, model.classes)

    def _prune(self, model: Model, layers: list[nn.Module], clean: ArrayDataset, ctx: Context) -> Tensor:
        """Silence channels one after the other, in place; the numbers of those that are."""
        activity = _activity(model, layers[-1], clean, ctx)
        before, order = _accuracy(model, clean, ctx), activity.argsort()
        for done, channel in enumerate(order):
            kept = [{name: value.clone() for name, value in layer.state_dict().items()} for layer in layers]
            _silence(layers, channel)
            if done >= self.params.most * len(order) or _accuracy(model, clean, ctx) < before - self.params.tolerance:
                for layer, state in zip(layers, kept, strict=True):
                    layer.load_state_dict(state)
                return order[:done]
            ctx.progress(done + 1, len(order), "channels pruned")
        return order


def _prunable(called: list[nn.Module]) -> list[nn.Module]:
    """The last convolution, with its batch normalisation; without convolutions, the last but one linear layer.

    Raises:
        ValueError: there is neither.
    """
    from torch import nn

    convolutions = [i for i, module in enumerate(called) if isinstance(module, nn.Conv2d)]
    hidden = [i for i, module in enumerate(called) if isinstance(module, nn.Linear)][:-1]
    if not convolutions and not hidden:
        raise ValueError("fine-pruning finds no convolution and no hidden linear layer to prune")
    at = (convolutions or hidden)[-1]
    kind = nn.BatchNorm2d if convolutions else nn.BatchNorm1d  # behind a convolution, BatchNorm1d is a later layer's
    return [called[at], *[module for module in called[at + 1 : at + 3] if isinstance(module, kind)][:1]]


def _activity(model: Model, layer: nn.Module, clean: ArrayDataset, ctx: Context) -> Tensor:
    """(channels,) mean positive part of what leaves `layer` on the clean rows."""
    import torch

    seen: list[Tensor] = []

    def note(_module: nn.Module, _given: object, out: Tensor) -> None:
        seen.append(out.clamp_min(0).transpose(0, 1).flatten(1).mean(dim=1) * len(out))

    hook = layer.register_forward_hook(note)
    with torch.no_grad():
        for x, _ in in_batches(clean, ctx):
            model.logits(x)
    hook.remove()
    return torch.stack(seen).sum(dim=0) / len(clean)


def _silence(layers: list[nn.Module], channel: Tensor) -> None:
    """Make a channel 0 for all inputs: its weights and bias, and the scale and shift behind it."""
    import torch

    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter[channel] = 0


def _keep_zero(parameter: Tensor, dead: Tensor) -> torch.utils.hooks.RemovableHandle:
    """No gradient for the channels `dead`."""

    def without(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[dead] = 0
        return gradient

    handle: torch.utils.hooks.RemovableHandle = parameter.register_hook(without)
    return handle


def _accuracy(model: Model, clean: ArrayDataset, ctx: Context) -> float:
    return sum(int((model.predict(x) == y).sum()) for x, y in in_batches(clean, ctx)) / len(clean)


SPEC = DefenceSpec(
    name="fine-pruning",
    summary="Cuts channels of the last convolution that sleep on clean images, then trains on clean images.",
    citation="Liu, Dolan-Gavitt, Garg 2018, Fine-pruning: defending against backdooring attacks on deep neural "
    "networks, section 3; arXiv 1805.12185",
    params=Params,
    load=FinePruning,
    acts=frozenset({Act.REPAIR}),
    needs=frozenset({Access.WEIGHTS, Access.GRADIENTS}),
)
