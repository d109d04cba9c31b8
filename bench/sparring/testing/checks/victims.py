"""Victims learn, follow their recipe, offer what they say, and can be made again from their arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from sparring.plugin import Act, VictimSpec
from sparring.testing.check import Check, Violation
from sparring.testing.fingerprints import differing
from sparring.testing.scene import BASE
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout
from sparring.threat import MODEL_ACCESS, Access, Norm
from sparring.training import Augmentation, InnerAdversary, Optimiser, Recipe, Schedule

CLASSROOM = replace(BASE, rows=300, batch=100)
LEARNT = 0.5
"""Accuracy on these images of ten classes, which every classifier tells apart: chance is 0.1."""

UPHILL = 0.05
"""L2 length of the step along the gradient."""


def _spec(subject: Subject) -> VictimSpec | None:
    spec = subject.spec
    return spec if isinstance(spec, VictimSpec) else None


def _is_victim(subject: Subject) -> bool:
    return _spec(subject) is not None


def _offering(access: Access) -> Callable[[Subject], bool]:
    return lambda subject: (spec := _spec(subject)) is not None and access in spec.offers


def _in_rounds(subject: Subject) -> bool:
    return (spec := _spec(subject)) is not None and Act.FIT_ROUNDS in spec.acts


def offers_what_it_says(subject: Tryout) -> None:
    from sparring.testing.acting.victims import ASKS, victim_spec

    seen = subject.base.seen()
    model, declared = seen.returned["model"], victim_spec(subject).offers & MODEL_ACCESS
    offered = frozenset(getattr(model, "offers", frozenset()))
    if offered != declared:
        raise _other_offers(f"the model offers {_listed(offered)}; declared are {_listed(declared)}")
    if refused := [access for access in declared if ASKS[access] not in seen.returned]:
        raise _other_offers(f"the model refuses {_listed(frozenset(refused))}, which it offers")
    for access in sorted(MODEL_ACCESS - declared):
        if answered := _answer_beyond(model, access, subject):
            raise _other_offers(f"{access} is not offered, and {ASKS[access]}() {answered}")


def _answer_beyond(model: Any, access: Access, subject: Tryout) -> str:
    """What comes of asking for something that is not offered, in words; "": a refusal."""
    from sparring.model import NotOffered
    from sparring.testing.acting.victims import asked, images_of

    try:
        asked(model, access, images_of(subject.base.seen().scene))
    except NotOffered:
        return ""
    except Exception as error:  # whatever the plugin's model raises in its place
        return f"raises {type(error).__name__} instead of NotOffered"
    return "answers"


def _listed(offers: frozenset[Access]) -> str:
    return ", ".join(sorted(offers)) or "nothing"


def _other_offers(seen: str) -> Violation:
    return Violation(
        "the fitted model offers exactly what the declaration says: applicability is decided by it",
        seen,
        "make 'offers' of the model and of the declaration (without RECIPE) equal; raise NotOffered for the rest",
    )


def prefers(subject: Tryout) -> None:
    """One answer is as good as the other: a larger score, probability or logit is the predicted class."""
    from sparring.testing.legality import broken_rule

    seen = subject.base.seen()
    if broken_rule(subject, seen):
        return
    labels = seen.returned["predict"].cpu().numpy()
    for method in ("scores", "probabilities", "logits"):
        if (values := seen.answers.get(method)) is None:
            continue
        behind = values.max(axis=1) - values[np.arange(len(labels)), labels]
        if (behind > 1e-5 * (1 + np.abs(values).max())).any():
            raise _disagreement(f"{method}() prefers another class than predict() on {int((behind > 0).sum())} images")
    shares = seen.answers.get("probabilities")
    if shares is not None and (shares.min() < 0 or not np.allclose(shares.sum(axis=1), 1, atol=1e-4)):
        raise _disagreement(f"probabilities from {shares.min():.3g} on, whose rows sum to {shares.sum(axis=1)[0]:.4g}")


def _disagreement(seen: str) -> Violation:
    return Violation(
        "all answers prefer the predicted class, and probabilities are probabilities",
        seen,
        "compute predict, scores, probabilities and logits from one source; softmax makes logits probabilities",
    )


def gradients_lead_uphill(subject: Tryout) -> None:
    """A step along the gradient raises the loss; towards a class that is not the predicted one, so that no model is
    too sure of itself to have one."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    from sparring.testing.acting.victims import images_of
    from sparring.testing.legality import broken_rule

    seen = subject.base.seen()
    if "logits" not in seen.returned or broken_rule(subject, seen):
        return
    model, x = seen.returned["model"], images_of(seen.scene)
    y = (model.logits(x).argmax(dim=1) + 1) % seen.scene.classes
    try:
        gradient = model.gradient(x, y)
    except RuntimeError as error:  # as torch says that a tensor does not depend on the input
        raise _flat(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}") from None
    length = gradient.flatten(1).norm(dim=1)
    if not bool(gradient.isfinite().all()) or not bool((length > 0).all()):
        raise _flat(f"{int((~(length > 0)).sum())} of {len(x)} gradients are zero or not finite")
    with torch.no_grad():
        before = F.cross_entropy(model.logits(x), y)
        after = F.cross_entropy(model.logits(x + UPHILL * gradient / length.reshape(-1, 1, 1, 1)), y)
    if after <= before:
        raise _flat(f"a step of {UPHILL:g} along it takes the loss from {before:.6g} to {after:.6g}")


def _flat(seen: str) -> Violation:
    return Violation(
        "logits are differentiable in x, and a small step along the gradient raises the loss",
        seen,
        "no detach(), no_grad(), rounding or numpy between x and the logits; else do not offer GRADIENTS",
    )


def each_image_alone(subject: Tryout) -> None:
    import torch

    from sparring.testing.acting.victims import images_of
    from sparring.testing.legality import broken_rule

    seen = subject.base.seen()
    if broken_rule(subject, seen):
        return
    model, x = seen.returned["model"], images_of(seen.scene)
    method = "scores" if "scores" in seen.returned else "predict"
    ask = getattr(model, method)
    if method in subject.unsteady:
        return
    together, alone = ask(x), torch.cat([ask(image) for image in x.split(1)])
    far = ~torch.isclose(together.double(), alone.double(), rtol=1e-3, atol=1e-4)
    if bool(far.any()):
        rows = far.reshape(len(x), -1).any(dim=1)
        raise Violation(
            "an image is answered alike alone and among others",
            f"{method}() differs on {int(rows.sum())} of {len(x)} images",
            "put networks into eval mode; take no statistics of the batch that is asked about",
        )


def comes_back(subject: Tryout) -> None:
    from sparring.testing.acting.victims import ASKS, restored
    from sparring.testing.checks.elsewhere import PATIENCE
    from sparring.testing.spawned import NotPicklable, performed_elsewhere
    from sparring.testing.surroundings import THREADS

    seen = subject.base.seen()
    methods = [method for access, method in ASKS.items() if access is not Access.WEIGHTS]
    methods = [method for method in methods if method in seen.answers.keys() - subject.unsteady]
    before = {f"restored {method}": seen.answers[method] for method in methods}
    here = {name: seen.answers[name] for name in before if name in seen.answers}
    if names := differing(before, here):
        raise _not_restored(f"{names[0].removeprefix('restored ')}() of the restored model differs")
    if seen.changed.get(THREADS):
        return  # sums depend on the number of threads, and leaving it changed is another fault
    perform = partial(restored, seen.returned["state"])
    try:
        there = performed_elsewhere(subject, seen.scene, PATIENCE, perform)
    except NotPicklable:
        return  # the state is not plain: that is another check
    if names := differing(before, {name: there[name] for name in before if name in there}):
        raise _not_restored(f"{names[0].removeprefix('restored ')}() of the model restored elsewhere differs")


def _not_restored(seen: str) -> Violation:
    return Violation(
        "restore(model.state()) is the same model, byte for byte, in any process",
        seen,
        "put everything that predictions depend on into state(); keep nothing in the victim, its class or its module",
    )


def state_is_plain(subject: Tryout) -> None:
    """It goes through the file format of the store."""
    from io import BytesIO

    from sparring.tensors import write_tensors

    state = subject.base.seen().returned["state"]
    if not isinstance(state, Mapping):
        raise _not_plain(f"state() gave a {type(state).__name__}")
    for name, array in state.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise _not_plain(f"{name!r} is a {type(array).__name__}")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise _not_plain(f"{name!r} holds NaN")
    try:
        write_tensors(BytesIO(), state, {})
    except TypeError as error:
        raise _not_plain(str(error)) from None


def _not_plain(seen: str) -> Violation:
    return Violation(
        "the state is named arrays that can be stored without code: bool, integers, floats, none of them NaN",
        seen,
        "make numpy arrays of numbers out of everything; text becomes bytes as uint8",
    )


def learns(subject: Tryout) -> None:
    from sparring.testing.acting.victims import in_full, victim

    seen = victim(subject, CLASSROOM, in_full)
    right = float((seen.answers["predict"] == CLASSROOM.test().y).mean())
    if right < LEARNT:
        raise Violation(
            f"trained in full on {CLASSROOM.rows} easy images of ten classes, it gets half of the others right",
            f"an accuracy of {right:.2f}; chance is 0.1",
            "look at the labels, the learning rate, and the range of the inputs, which is [0, 1]",
        )


def follows_the_recipe(subject: Tryout) -> None:
    """Whatever a recipe says differently gives another model."""
    from sparring.testing.acting.victims import EPOCHS, victim

    own: Recipe = subject.base.seen().returned["recipe"]
    plain = replace(own, epochs=EPOCHS, stop_at_error=None, batch_size=max(own.batch_size, 32))
    scene = subject.base.seen().scene
    before = _weights(victim(subject, scene, lambda _: plain).answers)
    ignored = [
        f"{field}={value}"
        for field, value in _otherwise(plain).items()
        if not differing(before, _weights(victim(subject, scene, _changed(plain, field, value)).answers))
    ]
    if ignored:
        raise Violation(
            "a victim that offers RECIPE follows the recipe that it is given: defences change it",
            f"the same model in spite of {', '.join(ignored)}",
            "hand the recipe to sparring.training_loop.train, or do not offer RECIPE",
        )


def _changed(recipe: Recipe, field: str, value: Any) -> Callable[[Recipe], Recipe]:
    return lambda _: replace(recipe, **{field: value})


def _weights(answers: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe forms: the features of a frozen-feature victim, else the model."""
    kept = {name: array for name, array in answers.items() if name.startswith("pretrained state/")}
    return kept or {name: array for name, array in answers.items() if name.startswith("plain state/")}


def _otherwise(recipe: Recipe) -> dict[str, Any]:
    """For each field that always matters, another value."""
    return {
        "optimiser": Optimiser.SGD if recipe.optimiser is not Optimiser.SGD else Optimiser.ADAM,
        "learning_rate": recipe.learning_rate / 2,
        "weight_decay": recipe.weight_decay + 0.1,
        "schedule": Schedule.COSINE if recipe.schedule is not Schedule.COSINE else Schedule.CONSTANT,
        "epochs": recipe.epochs + 1,
        "batch_size": 2,  # fewer than a client has images
        "augmentation": Augmentation.GAUSSIAN if recipe.augmentation is Augmentation.NONE else Augmentation.NONE,
        "stop_at_error": 1.0,
        "adversary": InnerAdversary(norm=Norm.LINF, epsilon=0.1),
    }


def has_clients(subject: Tryout) -> None:
    clients = getattr(subject.load(), "clients", None)
    if isinstance(clients, bool) or not isinstance(clients, int) or clients < 2:
        raise Violation(
            "a federated victim says how many clients it has: 'clients', a whole number, at least two",
            f"clients is {clients!r}",
            "set self.clients in __init__, from a parameter",
        )


def shows_every_update(subject: Tryout) -> None:
    shown = subject.base.seen().returned.get("shown updates", [])
    asked = Counter((round_, client) for round_, client, _ in shown)
    rounds, clients = 1 + max((round_ for round_, _ in asked), default=0), getattr(subject.load(), "clients", 0)
    expected = Counter((round_, client) for round_ in range(rounds) for client in range(clients))
    if asked != expected:
        missing, more = expected - asked, asked - expected
        raise Violation(
            "corrupt(update, client, round) is called once for each client in each round, both counted from 0",
            f"{missing.total()} calls are missing, {more.total()} are too many; (round, client):"
            f" {sorted((missing + more).keys())[:4]}",
            "let every client's update pass through corrupt before it is used",
        )


def uses_what_was_sent(subject: Tryout) -> None:
    """Updates of zero leave the model at its beginning."""
    from sparring.testing.acting.victims import shortened, victim

    def nothing(update: Any, client: int, round_: int) -> Any:
        return {name: change * 0 for name, change in update.items()}

    if not subject.base.seen().returned.get("shown updates"):
        return
    corrupted = victim(subject, subject.base.seen().scene, shortened, nothing)
    if not differing(_weights(subject.base.seen().answers), _weights(corrupted.answers)):
        raise Violation(
            "what corrupt returns takes the place of the client's update",
            "the same model, although every update came back as zero",
            "use the returned update: update = corrupt(update, client, round_)",
        )


CHECKS = (
    Check("offers-what-it-says", "its model offers exactly what is declared", offers_what_it_says, _is_victim),
    Check(
        "predicts-its-largest-score", "scores, probabilities and logits prefer what it predicts", prefers, _is_victim
    ),
    Check(
        "gradients-lead-uphill",
        "its gradients are those of its loss",
        gradients_lead_uphill,
        _offering(Access.GRADIENTS),
    ),
    Check("each-image-alone", "an answer does not depend on the rest of the batch", each_image_alone, _is_victim),
    Check("restores-what-it-was", "its state makes it again, in any process", comes_back, _is_victim),
    Check("state-is-plain-arrays", "its state can be stored without code", state_is_plain, _is_victim),
    Check("learns", "it learns easy images", learns, _is_victim),
    Check("follows-the-recipe", "every part of the recipe is heeded", follows_the_recipe, _offering(Access.RECIPE)),
    Check("has-clients", "it says how many clients it has", has_clients, _in_rounds, needs_run=False),
    Check("shows-every-update", "each update passes through corrupt, once", shows_every_update, _in_rounds),
    Check("uses-what-was-sent", "a corrupted update takes the place of the honest one", uses_what_was_sent, _in_rounds),
)
