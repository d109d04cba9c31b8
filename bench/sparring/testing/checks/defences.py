"""Defences: whatever answers in the victim's place can be evaluated honestly, and nothing is lost between stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from sparring.contracts import Certificate
from sparring.model import NETWORK_OFFERS
from sparring.plugin import Act, DefenceSpec
from sparring.testing.acting.defences import (
    RECIPES,
    Rehearsal,
    calibrated,
    certifying,
    guarded,
    inspect,
    made_again,
    own_fit,
    poisoned_train,
    rehearsal,
    repaired,
    spec_of,
)
from sparring.testing.check import Check, Violation
from sparring.testing.reference import ReferenceVictim, poisoned_model
from sparring.testing.scene import Scene
from sparring.testing.standing import VALUES, Standing
from sparring.testing.subject import Subject
from sparring.testing.tryout import Tryout
from sparring.threat import MODEL_ACCESS, Access
from sparring.training import Recipe

CLOSE = 1e-3
"""Differences up to this share of the values are rounding."""

BEHIND_GUARD = "its guarded model"

FORGOTTEN = 3
"""A recipe in which so many fields fell back to their defaults was written anew."""


def _does(*acts: Act) -> Callable[[Subject], bool]:
    return lambda subject: isinstance(subject.spec, DefenceSpec) and bool(subject.spec.acts & set(acts))


@contextmanager
def rehearsed(subject: Tryout) -> Iterator[Rehearsal]:
    with rehearsal(subject, subject.base.seen().scene) as run:
        yield run


@contextmanager
def standing(run: Rehearsal) -> Iterator[dict[str, Standing]]:
    """The models that answer in the victim's place, by where they come from."""
    acts, found = spec_of(run.subject).acts, {}
    if Act.OWN_FIT in acts and (fitted := own_fit(run)) is not None:
        found["the model of its own fit"] = fitted
    if Act.GUARD not in acts:
        yield found
        return
    with guarded(run) as guard:
        yield found if guard is None else found | {BEHIND_GUARD: guard}


def varied(scene: Scene) -> Tensor:
    """20 images: of the test set's kind, and noise, on which answers waver."""
    noise = np.random.default_rng(11).random((10, *scene.shape), dtype=np.float32)
    return torch.from_numpy(np.concatenate([scene.images(10, "varied").x, noise])).to(scene.device)


def _values(run: Rehearsal, model: Standing, x: Tensor) -> dict[Access, Tensor]:
    """What the model answers for every class, and its decisions; without answers that are illegal anyway."""
    with run.seen.acting("asking it"):
        found = {access: model.ask(access, x) for access in (Access.DECISIONS, *VALUES) if access in model.answering}
    decided = found[Access.DECISIONS].shape == (len(x),) and bool((found[Access.DECISIONS] < model.model.classes).all())
    return {
        access: values
        for access, values in found.items()
        if values.shape == (len(x), model.model.classes) or (access is Access.DECISIONS and decided)
    }


def _differing(one: dict[Access, Tensor], other: dict[Access, Tensor]) -> list[str]:
    return [str(access) for access in one if access not in other or not torch.equal(one[access], other[access])]


def _far(one: dict[Access, Tensor], other: dict[Access, Tensor]) -> list[str]:
    """Answers that differ by more than rounding. Decisions near a tie may: they count where nothing else is offered."""
    telling = [access for access in one if access in VALUES] or list(one)
    return [str(access) for access in telling if access in other and not _close(one[access], other[access])]


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=CLOSE, atol=CLOSE)


# models in the victim's place


def offers_what_it_declares(subject: Tryout) -> None:
    declared = spec_of(subject).offers
    with rehearsed(subject) as run, standing(run) as models:
        offered = {what: model.model.offers & MODEL_ACCESS for what, model in models.items()}
    for what, seen in offered.items():
        expected = NETWORK_OFFERS if declared is None else declared & MODEL_ACCESS
        if declared is None and what == BEHIND_GUARD:
            expected, seen = expected - {Access.WEIGHTS}, seen - {Access.WEIGHTS}
        if seen != expected:
            raise Violation(
                f"{what} offers {_listed(expected)}, as its declaration says",
                f"it offers {_listed(seen)}",
                "declare 'offers' (None: whatever the victim does), set 'offers' of the model to the same; what it "
                "must be given of the victim for that belongs under 'needs'",
            )


def _listed(access: frozenset[Access]) -> str:
    return ", ".join(sorted(access)) or "nothing"


def tells_if_it_is_randomised(subject: Tryout) -> None:
    with rehearsed(subject) as run, standing(run) as models:
        x = varied(run.scene)
        asked = {what: (_values(run, model, x), _values(run, model, x)) for what, model in models.items()}
    for what, (one, other) in asked.items():
        differing, declared = _differing(one, other), models[what].randomised
        if declared and not differing and set(one) > {Access.DECISIONS}:
            raise Violation(
                "Guard(randomised=True): two calls differ",
                "they gave the same",
                "leave it out, or draw from ctx.generator at every call, not once when the guard is made",
            )
        if differing and not declared:
            raise Violation(
                f"two calls of {what} give the same, or it says Guard(randomised=True)",
                f"they differ in {', '.join(differing)}",
                "say so: adaptive attacks then average over it, and do not take luck for robustness",
            )


def _steady(run: Rehearsal, models: dict[str, Standing], x: Tensor) -> Iterator[tuple[str, Standing]]:
    """Those whose answers do not change from call to call."""
    for what, model in models.items():
        if not _differing(_values(run, model, x), _values(run, model, x)):
            yield what, model


def answers_agree(subject: Tryout) -> None:
    with rehearsed(subject) as run, standing(run) as models:
        x = varied(run.scene)
        asked = {what: _values(run, model, x) for what, model in _steady(run, models, x)}
    for what, answers in asked.items():
        if Access.DECISIONS not in answers:
            continue
        decided = answers.pop(Access.DECISIONS)[:, None]
        for access, values in answers.items():
            highest, lowest = values.max(dim=1).values, values.min(dim=1).values
            short = highest - values.gather(1, decided)[:, 0]
            if others := int((short > CLOSE * (highest - lowest)).sum()):
                raise Violation(
                    f"{what} predicts the class to which it gives the highest {_named(access)}",
                    f"on {others} of {len(x)} images another class has it",
                    "answer predict, scores, probabilities, logits and features from the same defended model",
                )


def _named(access: Access) -> str:
    return "logit" if access is Access.GRADIENTS else str(access).removesuffix("s")


def gradients_come_through(subject: Tryout) -> None:
    with rehearsed(subject) as run, standing(run) as models:
        x, gradients = varied(run.scene), {}
        for what, model in models.items():
            if Access.GRADIENTS in model.answering:
                with run.seen.acting("asking for gradients"):
                    gradients[what] = model.gradient(x)
    for what, gradient in gradients.items():
        if not gradient.any():
            raise Violation(
                f"{what} offers gradients, and gives some",
                "the gradient of its logits is zero everywhere",
                "where the transform has no useful gradient, TransformedModel(..., backward='identity') or that of a "
                "smooth function: who masks gradients is not robust (Athalye et al. 2018, section 4)",
            )


def ignores_neighbours(subject: Tryout) -> None:
    with rehearsed(subject) as run:
        odd = [*_models_that_see_neighbours(run), *_scores_that_see_neighbours(run)]
    if odd:
        raise Violation(
            "what is said of an image does not depend on the other images of the batch",
            f"in batches of 5, in another order, {'; '.join(odd)} differed",
            "compute nothing over the batch axis: an attacker does not share a batch with clean images",
        )


def _models_that_see_neighbours(run: Rehearsal) -> Iterator[str]:
    with standing(run) as models:
        x = varied(run.scene)
        for what, model in _steady(run, models, x):
            together = _values(run, model, x)
            parts = [_values(run, model, part) for part in x.flip(0).split(5)]
            shared = [access for access in together if all(access in part for part in parts)]
            apart = {access: torch.cat([part[access] for part in parts]).flip(0) for access in shared}
            yield from (f"{kind} of {what}" for kind in _far(together, apart))


def _scores_that_see_neighbours(run: Rehearsal) -> Iterator[str]:
    if Act.DETECT not in spec_of(run.subject).acts:
        return
    with calibrated(run) as score:
        x = varied(run.scene)
        together, again = score(x), score(x)
        if not isinstance(together, Tensor) or together.shape != (len(x),) or not torch.equal(together, again):
            return
        if not _close(together, torch.cat([score(part) for part in x.flip(0).split(5)]).flip(0)):
            yield "the detector's scores"


# what comes back from the store


def comes_back(subject: Tryout) -> None:
    acts, told = spec_of(subject).acts, ""
    with rehearsed(subject) as run:
        x = varied(run.scene)
        if Act.OWN_FIT in acts:
            told = _unlike_itself(run, own_fit(run), "own fit state", x)
        if Act.REPAIR in acts and not told:
            if Act.INSPECT in acts:
                inspect(run)
            told = _unlike_itself(run, repaired(run), "repair state", x)
    if told:
        raise Violation(
            "the model made again from the arrays of its state() answers as the model did",
            told,
            "put everything that it needs into state(), and take it from there in restore(); a repaired model has the "
            "form of the victim's, which restores it",
        )


def _unlike_itself(run: Rehearsal, made: Standing | None, state: str, x: Tensor) -> str:
    if made is None or _differing(before := _values(run, made, x), _values(run, made, x)):
        return ""
    stored = {name: np.array(array) for name, array in run.seen.returned[state].items()}
    for array in stored.values():
        array.flags.writeable = False  # as it lies in the store
    far = _far(before, _values(run, made_again(run, stored), x))
    return f"it differs in {', '.join(far)}" if far else ""


# recipes


def _recipes(subject: Tryout) -> dict[str, Recipe]:
    """What `reinforce` returned, where that is legal."""
    found = subject.base.seen().returned["reinforce"]
    return {name: recipe for name, recipe in found.items() if isinstance(recipe, Recipe)}


def builds_on_the_recipe(subject: Tryout) -> None:
    reinforced, plain = _recipes(subject), Recipe()
    fallen = [
        f.name
        for f in fields(Recipe)
        if all(getattr(recipe, f.name) == getattr(plain, f.name) for recipe in reinforced.values())
    ]
    if reinforced and len(fallen) >= FORGOTTEN:
        raise Violation(
            "the victim is trained by its own recipe, but for what the defence changes",
            f"whatever the recipe was, these came out as the defaults of Recipe: {', '.join(fallen)}",
            "return dataclasses.replace(recipe, ...), not Recipe(...)",
        )


def answers_the_same_recipe_alike(subject: Tryout) -> None:
    with rehearsed(subject) as run:
        plugin = run.plugin()
        with run.seen.acting("reinforce"):
            first, again = ({name: plugin.reinforce(recipe) for name, recipe in RECIPES.items()} for _ in range(2))
    if odd := [name for name in first if first[name] != again[name]]:
        raise Violation(
            "the same recipe is always reinforced to the same",
            f"a second call gave another for the {', '.join(odd)} recipe",
            "keep no count of calls, and draw nothing: the training draws, from the recipe",
        )


def trains_as_reinforced(subject: Tryout) -> None:
    if (recipe := _recipes(subject).get("short")) is None:
        return
    with rehearsed(subject) as run:
        victim = ReferenceVictim(run.scene.shape, run.scene.classes)
        try:
            victim.fit(poisoned_train(run.scene), replace(recipe, epochs=min(recipe.epochs, 1)), run.ctx)
        except Exception as error:  # whatever the training loop says of the recipe
            raise Violation(
                "a network can be trained by the recipe that it returns",
                f"{type(error).__name__}: {error}",
                "see sparring.training for what the fields of a recipe may be",
            ) from error


# certificates


def certificates_hold(subject: Tryout) -> None:
    with rehearsed(subject) as run, certifying(run) as certify:
        x = run.images()
        given = certify(x)
        if not _is_a_bound(given, len(x)):
            return
        for direction in _directions(run.scene, x, given):
            moved = (x + direction).clamp(0, 1)
            again = np.asarray(certify(moved).prediction)
            broken = (given.prediction >= 0) & (again >= 0) & (again != given.prediction)
            if broken.any():
                far = float(np.asarray(given.radius)[broken].min())
                raise Violation(
                    f"with confidence 1.0, no image within the {given.unit} radius gets another certified label",
                    f"{int(broken.sum())} of {len(x)} images do; the smallest of their radii is {far:.3g}",
                    "see that the radius is a lower bound, in the unit that it names, on images in [0, 1]; state the "
                    "confidence where it holds with a probability only",
                )


def _is_a_bound(given: object, count: int) -> bool:
    """Whether it holds without exception, over images, and is legal."""
    if not isinstance(given, Certificate) or given.unit not in ("l2", "linf") or given.confidence != 1.0:
        return False
    return np.shape(given.prediction) == np.shape(given.radius) == (count,) and bool(
        (np.asarray(given.radius) >= 0).all()
    )


def _directions(scene: Scene, x: Tensor, given: Certificate) -> Iterator[Tensor]:
    """Steps to just within the radius: against the victim's margin, brighter, darker, and at random."""
    leaf = x.clone().requires_grad_(True)
    logits, kept = poisoned_model(scene).logits(leaf), torch.as_tensor(given.prediction).clamp(min=0)[:, None]
    other = logits.scatter(1, kept, -torch.inf).max(dim=1).values
    (uphill,) = torch.autograd.grad((other - logits.gather(1, kept)[:, 0]).sum(), leaf)
    chance = torch.randn((2, *x.shape), generator=torch.Generator().manual_seed(3))
    radius = torch.from_numpy(np.minimum(np.asarray(given.radius, np.float64), 1e3)).float() * 0.99
    for way in (uphill, torch.ones_like(x), -torch.ones_like(x), *chance):
        flat = way.sign().flatten(1) if given.unit == "linf" else way.flatten(1)
        length = flat.abs().amax(dim=1) if given.unit == "linf" else flat.norm(dim=1)
        yield (flat * (radius / length.clamp(min=1e-12))[:, None]).reshape(x.shape)


_STANDING = _does(Act.GUARD, Act.OWN_FIT)

CHECKS = (
    Check("offers-what-it-declares", "its model offers what it declares", offers_what_it_declares, _STANDING),
    Check("tells-if-randomised", "two calls differ exactly where it says so", tells_if_it_is_randomised, _STANDING),
    Check("answers-agree", "all answers come from the same defended model", answers_agree, _STANDING),
    Check("gradients-come-through", "gradients are not masked", gradients_come_through, _STANDING),
    Check(
        "ignores-neighbours",
        "answers do not depend on the rest of the batch",
        ignores_neighbours,
        _does(Act.GUARD, Act.OWN_FIT, Act.DETECT),
    ),
    Check(
        "comes-back-from-arrays",
        "a model made again from its arrays is the same",
        comes_back,
        _does(Act.OWN_FIT, Act.REPAIR),
    ),
    Check(
        "builds-on-the-recipe",
        "it changes the victim's recipe, not replaces it",
        builds_on_the_recipe,
        _does(Act.REINFORCE),
    ),
    Check(
        "same-recipe-same-answer",
        "the same recipe is reinforced to the same",
        answers_the_same_recipe_alike,
        _does(Act.REINFORCE),
    ),
    Check("trains-as-reinforced", "its recipe can be trained by", trains_as_reinforced, _does(Act.REINFORCE)),
    Check("certificates-hold", "no image within a certain radius breaks it", certificates_hold, _does(Act.CERTIFY)),
)
