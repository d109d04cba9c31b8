"""`fed-avg`: clients that train a network for themselves, and a server that averages what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sparring.cell import Selection
from sparring.plugin import Act, Kind, VictimSpec, param, reference
from sparring_victims import cnn, densenet, logistic, mlp, resnet, vgg
from sparring_victims.network_params import NETWORK_VICTIM_OFFERS

if TYPE_CHECKING:
    from torch import nn

    from sparring.contracts import Context, Corrupt, Update
    from sparring.data import ArrayDataset, Arrays
    from sparring.model import Model
    from sparring.training import Recipe
    from sparring_victims.network_victim import NetworkVictim

NETWORKS = {spec.name: spec for spec in (mlp.SPEC, cnn.SPEC, vgg.SPEC, resnet.SPEC, densenet.SPEC, logistic.SPEC)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    network: Selection = reference(
        Kind.VICTIM,
        "mlp[epochs=2,schedule=constant,learning_rate=0.003,batch_size=32]",
        f"what the clients train ({', '.join(NETWORKS)}); its epochs are those of one client in one round",
    )
    clients: int = param(10, "clients, all of which take part in every round", at_least=2)
    rounds: int = param(10, "rounds", at_least=1)
    server_rate: float = param(1.0, "of the mean change of the clients, what the server takes over", above=0)


class FedAvg:
    """w ← w + η Σ (n_k / n) (w_k - w), where w_k is what client k makes of w in some epochs on its n_k rows (McMahan et
    al. 2017, algorithm 1, with C = 1; η as in Bagdasaryan et al. 2020, equation 1).

    The harness deals the rows, alike and in equal parts. Parameters pass through `corrupt`; the running statistics of a
    batch normalisation are averaged as honest clients send them, whoever they come from.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.clients = params.clients
        if params.network.name not in NETWORKS:
            raise ValueError(f"fed-avg trains {', '.join(NETWORKS)}; {params.network.name} is none of them")
        self.network: NetworkVictim[Any] = NETWORKS[params.network.name].load(params.network.params)

    def recipe(self) -> Recipe:
        """What each client does in each round."""
        return self.network.recipe()

    def fit_rounds(self, clients: Sequence[ArrayDataset], recipe: Recipe, corrupt: Corrupt, ctx: Context) -> Model:
        """Raises `ValueError` when a client has no rows."""
        import copy

        from sparring.model import NetworkModel
        from sparring.training_loop import initialised

        first = clients[0]
        if not any(map(len, clients)):
            raise ValueError("no images to train on: the training set is empty")
        if empty := sum(not len(rows) for rows in clients):
            raise ValueError(f"{empty} of {len(clients)} clients have no images; set fewer clients")
        server = initialised(lambda: self.network.build(first.image_shape, first.classes), ctx)
        shares = [len(rows) / sum(map(len, clients)) for rows in clients]
        for round_ in range(self.params.rounds):
            change = {name: tensor.new_zeros(tensor.shape) for name, tensor in _averaged(server).items()}
            for client, (rows, share) in enumerate(zip(clients, shares, strict=True)):
                local = self._trained(copy.deepcopy(server), rows, recipe, ctx)
                for name, sent in self._update(server, local, client, round_, corrupt).items():
                    change[name] += share * sent
                ctx.progress(round_ * len(clients) + client + 1, self.params.rounds * len(clients), "clients trained")
            for name, tensor in _averaged(server).items():
                tensor += self.params.server_rate * change[name]
        return NetworkModel(server, first.classes)

    def _trained(self, local: nn.Module, rows: ArrayDataset, recipe: Recipe, ctx: Context) -> nn.Module:
        from sparring.training_loop import train

        # the round's generators, without its checkpoints, and without curves that start anew at every client
        return train(local, rows, recipe, replace(ctx, checkpoints=None, report=None, curves={}))

    def _update(self, server: nn.Module, local: nn.Module, client: int, round_: int, corrupt: Corrupt) -> Update:
        """The change of every parameter as it was sent, and that of every running statistic."""
        before, after = _averaged(server), _averaged(local)
        changes = {name: after[name] - before[name] for name in before}
        parameters = {name for name, _ in server.named_parameters()}
        sent = corrupt({name: changes[name] for name in changes if name in parameters}, client, round_)
        return changes | sent

    def restore(self, state: Arrays, ctx: Context) -> Model:
        return self.network.restore(state, ctx)


def _averaged(network: nn.Module) -> dict[str, Any]:
    """Parameters and statistics, which share their memory with the network."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


SPEC = VictimSpec(
    name="fed-avg",
    summary="Federated averaging: clients with equal parts of the training set, and the mean of what they change.",
    citation="McMahan et al. 2017, Communication-efficient learning of deep networks from decentralized data, "
    "algorithm 1; arXiv 1602.05629",
    params=Params,
    load=FedAvg,
    acts=frozenset({Act.FIT_ROUNDS}),
    offers=NETWORK_VICTIM_OFFERS,
)
