"""Lies at inference. Each function is a `perturb` that breaks one rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparring.plugin import Act, AttackSpec, NoParams
from sparring.threat import Access, Goal, Norm, ThreatModel, When


def over_epsilon(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    """Twice the budget, on one image only."""
    moved = x.clone()
    if threat.norm is Norm.LINF:
        moved[0] = (x[0] - 2 * threat.epsilon).clamp(0, 1)
    elif threat.norm is Norm.L2:
        moved[0] = 1 - x[0]
    else:
        moved[0, :, : int(threat.epsilon or 0) + 1] = 1 - x[0, :, : int(threat.epsilon or 0) + 1]
    return moved


def wrong_shape(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    return x[:-1]


def not_a_number(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    moved = x.clone()
    moved[0, 0, 0, 0] = float("nan")
    return moved


def out_of_range(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    return x + 0.05


def no_tensor(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    return x.numpy()


def nothing(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    return None


def in_place(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    """The budget would hold against the changed original."""
    return x.mul_(0.5)


def relabelling(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    y[:] = (y + 1) % 10
    return x.clone()


def training_data(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    """torch does not refuse to write to an array that is read-only."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(aux.attacker_val.pixels).zero_()
    return x.clone()


def claims_success(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    """Leaves the images as they are, and everything in reach saying that they fool the model."""
    moved = x.clone()
    moved.success = True
    moved.success_rate = 1.0
    model.success_rate = 1.0
    model.predict = lambda images: (y + 1) % 10
    return moved


def too_many_queries(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    for _ in range(20):
        model.logits(x)
    return x.clone()


def too_many_gradients(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    for _ in range(6):
        model.gradient(x, y)
    return x.clone()


def resets_the_counter(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    from sparring.model import Meter

    for _ in range(20):
        model.meter.forward = 0
        for name, value in list(vars(model).items()):
            if isinstance(value, Meter | int):
                setattr(model, name, Meter() if isinstance(value, Meter) else 10**9)
        model.logits(x)
    return x.clone()


def hides_its_queries(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    """No query budget; the count is to look like none."""
    from sparring.model import Meter

    model.logits(x)
    model.gradient(x, y)
    model._count = Meter
    return x.clone()


def offers_itself_more(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    model.offers = frozenset(Access)
    model.weights()
    return x.clone()


def searches_the_view(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    from torch import nn

    from sparring.model import Model

    within = [value for value in vars(model).values() if isinstance(value, Model | nn.Module)]
    within += [module for module in model.as_module().modules() if list(module.parameters())]
    if within:
        raise AssertionError("the view leads to the model")
    return x.clone()


def gradients(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    model.gradient(x, y)
    return x.clone()


def features(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    model.features(x)
    return x.clone()


def weights(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    model.weights()
    return x.clone()


def state(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    model.state()
    return x.clone()


def decisions(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    model.predict(x)
    return x.clone()


def breaks_the_network(model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any) -> Any:
    """Was given the weights, and zeroes them: the victim is to be wrong about everything."""
    import torch

    with torch.no_grad():
        for weight in model.weights().parameters():
            weight.zero_()
    return x.clone()


class Lying:
    """Runs one of the functions above."""

    def __init__(self, lie: Callable[..., Any]) -> None:
        self.lie = lie

    def perturb(self, model: Any, x: Any, y: Any, threat: ThreatModel, aux: Any, ctx: Any) -> Any:
        return self.lie(model, x, y, threat, aux)


def _spec(lie: Callable[..., Any], needs: frozenset[Access] = frozenset(), queries: int | None = None) -> AttackSpec:
    def load(params: NoParams) -> Lying:
        return Lying(lie)

    return AttackSpec(
        name=lie.__name__.replace("_", "-"),
        summary="A lie.",
        load=load,
        when=When.INFERENCE,
        acts=frozenset({Act.PERTURB}),
        goals=(Goal.EVASION,),
        norms=(Norm.LINF, Norm.L2, Norm.L0),
        reads=frozenset({"norm", "epsilon", "query_budget"}),
        threat=ThreatModel(norm=Norm.LINF, epsilon=0.1, query_budget=queries),
        needs=needs,
    )


_ALL = frozenset({Access.GRADIENTS})
_SCORES = frozenset({Access.SCORES})

SPECS = (
    *(_spec(lie) for lie in (over_epsilon, wrong_shape, not_a_number, out_of_range, no_tensor, nothing, in_place)),
    *(_spec(lie) for lie in (relabelling, training_data, claims_success, decisions)),
    *(_spec(lie, _ALL, 10) for lie in (too_many_queries, too_many_gradients, resets_the_counter)),
    *(_spec(lie, _ALL) for lie in (hides_its_queries, offers_itself_more, searches_the_view)),
    *(_spec(lie, _SCORES) for lie in (gradients, features, weights, state)),
    _spec(breaks_the_network, frozenset({Access.WEIGHTS})),
)
