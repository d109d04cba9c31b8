"""Victims: a short training, what the fitted model answers, and what it answers after it was made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from sparring.contracts import Context, Corrupt, Update
from sparring.judge import checked_labels
from sparring.model import Model, NotOffered
from sparring.plugin import Act, VictimSpec
from sparring.rounds import dealt
from sparring.stage import RuleBroken
from sparring.testing.performance import INPUTS, MODEL, Performance, unchanged, watched
from sparring.testing.scene import Scene, writable
from sparring.testing.subject import Subject
from sparring.threat import Access
from sparring.training import Recipe

ASKS: Final[Mapping[Access, str]] = {
    Access.DECISIONS: "predict",
    Access.SCORES: "scores",
    Access.PROBABILITIES: "probabilities",
    Access.GRADIENTS: "logits",
    Access.FEATURES: "features",
    Access.WEIGHTS: "weights",
}
"""The method of a model that gives each access."""

EPOCHS: Final = 2
"""Of the plainest training: long enough to change every weight."""

PER_CLIENT: Final = 4
"""Images that each client of a federated victim has, at least."""

DEAL: Final = 11
"""Seed by which rows are dealt to clients; the same in all scenes."""


def victim_spec(subject: Subject) -> VictimSpec:
    spec = subject.spec
    assert isinstance(spec, VictimSpec)
    return spec


def shortened(recipe: Recipe) -> Recipe:
    """The victim's own recipe, for `EPOCHS` epochs at most."""
    return replace(recipe, epochs=min(recipe.epochs, EPOCHS))


def in_full(recipe: Recipe) -> Recipe:
    """The victim's own recipe."""
    return recipe


def honest(update: Update, client: int, round_: int) -> Update:
    """What becomes of the updates of clients whom nobody attacks."""
    return update


def victim(
    subject: Subject, scene: Scene, change: Callable[[Recipe], Recipe] = shortened, corrupt: Corrupt = honest
) -> Performance:
    """All acts of a victim: it is trained, asked, made again from its state by another instance, and asked again.

    Args:
        change: of the victim's own recipe. Victims that follow none are trained as they are.
        corrupt: what becomes of the updates of a federated victim's clients.
    """
    with watched(scene) as (seen, ctx):
        with seen.acting("load"):
            plugin = subject.load()
        model = _trained(subject, scene, plugin, change, corrupt, seen, ctx)
        with seen.acting("state"):
            state = model.state()
        seen.returned |= {"model": model, "state": state}
        seen.keep("plain state", _plain(state))
        _ask(victim_spec(subject), model, scene, seen, "")
        _restore(subject, scene, state, seen, ctx)
    return seen


def restored(state: Mapping[str, NDArray[Any]], subject: Subject, scene: Scene) -> Performance:
    """The victim's model made again from its state alone, and asked."""
    with watched(scene) as (seen, ctx):
        _restore(subject, scene, state, seen, ctx)
    return seen


def _trained(
    subject: Subject,
    scene: Scene,
    plugin: Any,
    change: Callable[[Recipe], Recipe],
    corrupt: Corrupt,
    seen: Performance,
    ctx: Context,
) -> Any:
    acts = victim_spec(subject).acts
    with seen.acting("recipe"):
        recipe = change(plugin.recipe()) if Access.RECIPE in victim_spec(subject).offers else plugin.recipe()
    seen.returned["recipe"] = recipe
    if Act.FIT_ROUNDS in acts:
        return _in_rounds(scene, plugin, recipe, corrupt, seen, ctx)
    train = writable(scene.train())
    with unchanged(seen, INPUTS, training_set=train):
        if Act.PRETRAIN in acts:
            return _on_features(scene, plugin, train, recipe, seen, ctx)
        with seen.acting("fit"):
            return plugin.fit(train, recipe, ctx)


def _in_rounds(scene: Scene, plugin: Any, recipe: Recipe, corrupt: Corrupt, seen: Performance, ctx: Context) -> Any:
    with seen.acting("dealing images to its clients"):
        train = replace(scene, rows=max(scene.rows, PER_CLIENT * plugin.clients)).train()
        parts = [writable(part) for part in dealt(train, plugin.clients, 0, np.empty(0, np.int64), DEAL)]
    given = {f"images_of_client_{client}": part for client, part in enumerate(parts)}
    with unchanged(seen, INPUTS, **given), seen.acting("fit_rounds"):
        return plugin.fit_rounds(parts, recipe, _noted(corrupt, seen), ctx)


def _on_features(scene: Scene, plugin: Any, train: Any, recipe: Recipe, seen: Performance, ctx: Context) -> Any:
    """The external images have one class more: the head is for the classes of the training set."""
    external = writable(replace(scene, classes=scene.classes + 1).images(scene.rows, "external"))
    with unchanged(seen, INPUTS, external_data_set=external), seen.acting("pretrain"):
        pretrained = plugin.pretrain(external, recipe, ctx)
        state = pretrained.state()
    seen.returned["pretrained"] = pretrained
    seen.keep("pretrained state", _plain(state))
    with seen.acting("restore_features"):
        features = plugin.restore_features(_copied(state), other_context(scene, ctx))
        seen.keep("features of the pretrained", features.features(images_of(scene)))
    with unchanged(seen, MODEL, **_network(features)), seen.acting("fit_head"):
        return plugin.fit_head(features, train, ctx)


def _network(model: Any) -> dict[str, torch.nn.Module]:
    """The network of a model that has one: the harness keeps pretrained features for other fits."""
    try:
        return {"features": model.weights()}
    except NotOffered:
        return {}


def _noted(corrupt: Corrupt, seen: Performance) -> Corrupt:
    """`corrupt`, and who asked for what is noted."""
    shown = seen.returned.setdefault("shown updates", [])

    def note(update: Update, client: int, round_: int) -> Update:
        shown.append((round_, client, update))
        return corrupt(update, client, round_)

    return note


def _restore(subject: Subject, scene: Scene, state: Any, seen: Performance, ctx: Context) -> None:
    """As the harness does it: by another instance, in another stage, with another seed."""
    with seen.acting("load"):
        plugin = subject.load()
    given = _copied(state)
    with unchanged(seen, INPUTS, **{f"state_{name}": array for name, array in _plain(given).items()}):
        with seen.acting("restore"):
            model = plugin.restore(given, other_context(scene, ctx))
        seen.returned["restored"] = model
        _ask(victim_spec(subject), model, scene, seen, "restored ")


def other_context(scene: Scene, ctx: Context) -> Context:
    """That of another stage: another seed."""
    return Context(seed=scene.seed + 7, device=scene.device, scratch=ctx.scratch, deadline=ctx.deadline)


def _ask(spec: VictimSpec, model: Any, scene: Scene, seen: Performance, prefix: str) -> None:
    """Ask the model for all that the declaration offers. What it then refuses is missing in the answers."""
    x = images_of(scene)
    with unchanged(seen, INPUTS, images=x):
        for access, method in ASKS.items():
            if access not in spec.offers:
                continue
            with seen.acting(method):
                try:
                    seen.keep(prefix + method, asked(model, access, x))
                except NotOffered:
                    continue


def asked(model: Any, access: Access, x: torch.Tensor) -> Any:
    """What a model gives of an access for the images `x`. Raises `NotOffered`."""
    method = getattr(model, ASKS[access])
    return method() if access is Access.WEIGHTS else method(x)


def images_of(scene: Scene) -> torch.Tensor:
    """The scene's test images, (N, C, H, W), on its device."""
    return torch.from_numpy(scene.test().x.copy()).to(scene.device)


def _copied(state: Any) -> Any:
    return {name: np.array(array) for name, array in state.items()} if isinstance(state, Mapping) else state


def _plain(state: Any) -> dict[str, NDArray[Any]]:
    """The arrays that can be compared byte by byte; another check is about the rest."""
    items = state.items() if isinstance(state, Mapping) else ()
    return {str(name): a for name, a in items if isinstance(a, np.ndarray) and not a.dtype.hasobject}


# what the answers of a victim must be


def legal_victim(subject: Subject, seen: Performance) -> None:
    """Raise `RuleBroken` where a returned value is not what the contract says."""
    name, scene = str(subject), seen.scene
    recipe, model = seen.returned["recipe"], seen.returned["model"]
    if not isinstance(recipe, Recipe):
        raise RuleBroken(f"{name} has a recipe of type {type(recipe).__name__}; expected sparring.training.Recipe")
    for made in (model, seen.returned["restored"], seen.returned.get("pretrained", model)):
        if not isinstance(made, Model):
            raise RuleBroken(f"{name} returned a {type(made).__name__}; expected a sparring.model.Model")
    if getattr(model, "classes", None) != scene.classes:
        raise RuleBroken(
            f"{name} fitted a model of {getattr(model, 'classes', None)} classes to data of {scene.classes}"
        )
    _legal_answers(name, scene, seen)
    if "features of the pretrained" in seen.returned:
        _check_rows(name, "features", seen.returned["features of the pretrained"], scene, None)


def _legal_answers(name: str, scene: Scene, seen: Performance) -> None:
    for prefix in ("", "restored "):
        if (labels := seen.returned.get(prefix + "predict")) is not None:
            checked_labels(
                name, _tensor(name, "predict", labels, scene).detach().cpu().numpy(), scene.batch, scene.classes
            )
        for method in ("scores", "probabilities", "logits"):
            if (values := seen.returned.get(prefix + method)) is not None:
                _check_rows(name, method, values, scene, scene.classes)
        if (features := seen.returned.get(prefix + "features")) is not None:
            _check_rows(name, "features", features, scene, None)
        network = seen.returned.get(prefix + "weights")
        if network is not None and not isinstance(network, torch.nn.Module):
            raise RuleBroken(f"{name}: weights() gave a {type(network).__name__}; expected a torch module")


def _check_rows(name: str, method: str, values: Any, scene: Scene, width: int | None) -> None:
    """(N, `width`) finite floats."""
    values = _tensor(name, method, values, scene)
    if values.ndim != 2 or len(values) != scene.batch or (width is not None and values.shape[1] != width):
        expected = f"({scene.batch}, {'D' if width is None else width})"
        raise RuleBroken(f"{name}: {method}() gave the shape {tuple(values.shape)}; expected {expected}")
    if not values.is_floating_point() or not bool(values.isfinite().all()):
        raise RuleBroken(f"{name}: {method}() gave {values.dtype} with NaN or infinite values, or no floats")


def _tensor(name: str, method: str, value: Any, scene: Scene) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise RuleBroken(f"{name}: {method}() gave a {type(value).__name__}; expected a tensor")
    if value.device != torch.device(scene.device):
        raise RuleBroken(f"{name}: {method}() answered on {value.device}; expected {scene.device}")
    return value
