"""A federated victim: clients train for themselves, the server averages what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.plugin import Act, VictimSpec, param
from sparring.threat import MODEL_ACCESS, Access

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.contracts import Context, Corrupt, Update
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    clients: int = param(10, "clients, all of which take part in every round", at_least=1)
    rounds: int = param(6, "rounds", at_least=1)
    hidden: int = param(32, "width of the hidden layer", at_least=1)


class FedAvg:
    """`recipe` is what each client does in each round."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.clients = params.clients

    def recipe(self) -> Recipe:
        from sparring.training import Recipe

        return Recipe(learning_rate=3e-3, epochs=3, batch_size=32)

    def fit_rounds(self, clients: Sequence[ArrayDataset], recipe: Recipe, corrupt: Corrupt, ctx: Context) -> Model:
        import torch

        from contract_plugins.networks import fresh
        from sparring.model import NetworkModel

        server = fresh(clients[0].image_shape, self.params.hidden, clients[0].classes, ctx)
        for round_ in range(self.params.rounds):
            ctx.progress(round_, self.params.rounds, "round")
            weights = {name: w.detach().clone() for name, w in server.named_parameters()}
            updates = [
                corrupt(self._update(weights, rows, recipe, ctx), client, round_) for client, rows in enumerate(clients)
            ]
            with torch.no_grad():
                for name, w in server.named_parameters():
                    w.copy_(weights[name] + torch.stack([update[name] for update in updates]).mean(dim=0))
        return NetworkModel(server, clients[0].classes)

    def _update(self, weights: dict[str, Tensor], rows: ArrayDataset, recipe: Recipe, ctx: Context) -> Update:
        from contract_plugins.networks import fresh
        from sparring.training_loop import train

        local = fresh(rows.image_shape, self.params.hidden, rows.classes, ctx)
        local.load_state_dict(weights)
        train(local, rows, recipe, ctx)
        return {name: w.detach() - weights[name] for name, w in local.named_parameters()}

    def restore(self, state: Arrays, ctx: Context) -> Model:
        from contract_plugins.networks import restored

        return restored(state, ctx)


SPEC = VictimSpec(
    name="fedavg",
    summary="Federated averaging over clients with equal parts of the training set.",
    citation="McMahan et al. 2017, Communication-efficient learning of deep networks, algorithm 1; arXiv 1602.05629",
    params=Params,
    load=FedAvg,
    acts=frozenset({Act.FIT_ROUNDS}),
    offers=MODEL_ACCESS | {Access.RECIPE},
)
