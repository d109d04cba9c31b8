"""Defences: every act a stage of its own, as in the harness, on the victim of a backdoor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.contracts import Aux, Certificate, Context, Finding, Sanitised
from sparring.data import ArrayDataset, Arrays, poisoned_rows
from sparring.judge import checked_certificate, checked_finding, checked_sanitised, checked_state, checked_suspicion
from sparring.model import NETWORK_OFFERS, Guard, Model
from sparring.plugin import Act, DefenceSpec
from sparring.stage import RuleBroken
from sparring.testing.fingerprints import answers_of
from sparring.testing.limited import Licence, LimitedModel, LimitedVictim
from sparring.testing.performance import INPUTS, MODEL, Performance, unchanged, watched
from sparring.testing.reference import ReferenceVictim, backdoor, poisoned_model
from sparring.testing.scene import Scene, writable
from sparring.testing.standing import Standing, check_answers
from sparring.testing.subject import Subject
from sparring.threat import Access, Norm
from sparring.training import Augmentation, InnerAdversary, Optimiser, Recipe, Schedule

RECIPES = {
    "short": Recipe(epochs=1, batch_size=16),
    "plain": Recipe(optimiser=Optimiser.SGD, learning_rate=0.02, epochs=3, batch_size=8, weight_decay=1e-3),
    "rich": Recipe(
        optimiser=Optimiser.MOMENTUM,
        learning_rate=0.05,
        momentum=0.8,
        schedule=Schedule.COSINE,
        epochs=7,
        batch_size=32,
        augmentation=Augmentation.SHIFT,
        stop_at_error=0.01,
        adversary=InnerAdversary(norm=Norm.L2, epsilon=0.5),
    ),
}
"""What victims hand to `reinforce`; every field is another than the default in one of them."""


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """One watched run of a defence.

    Attributes:
        own: the arrays of the model that the defence fitted itself, where it does.
    """

    subject: Subject
    scene: Scene
    seen: Performance
    ctx: Context
    own: dict[str, Any]

    def plugin(self) -> Any:
        """The plugin, loaded anew: the harness does so for every stage, which may run in another process."""
        with self.seen.acting("load"):
            return self.subject.load()

    def licence(self, through: frozenset[Access] = frozenset()) -> Licence:
        """What it may use of the victim's models. Where its own declaration says what it offers, nothing passes
        through: it must be able to answer on every victim that has what it needs."""
        spec = spec_of(self.subject)
        granted = spec.needs if self.scene.access is None else self.scene.access
        return Licence(str(self.subject), granted, through if spec.offers is None else frozenset())

    def victim(self, licence: Licence) -> LimitedVictim:
        return LimitedVictim(ReferenceVictim(self.scene.shape, self.scene.classes), licence)

    def images(self) -> Tensor:
        return torch.from_numpy(self.scene.test().x.copy()).to(self.scene.device)

    def clean(self) -> ArrayDataset:
        return writable(self.scene.images(self.scene.rows // 2, "clean"))


def spec_of(subject: Subject) -> DefenceSpec:
    spec = subject.spec
    assert isinstance(spec, DefenceSpec)
    return spec


def poisoned_train(scene: Scene) -> ArrayDataset:
    return writable(scene.train().with_delta(backdoor(scene)))


def defend(subject: Subject, scene: Scene) -> Performance:
    """All acts of a defence."""
    with rehearsal(subject, scene) as run:
        run.plugin()
        for act, perform in PERFORMED.items():
            if act in spec_of(subject).acts:
                perform(run)
    return run.seen


@contextmanager
def rehearsal(subject: Subject, scene: Scene) -> Iterator[Rehearsal]:
    with watched(scene) as (seen, ctx):
        yield Rehearsal(subject, scene, seen, ctx, {})


# the acts


def _sanitise(run: Rehearsal) -> None:
    train, clean = poisoned_train(run.scene), run.clean()
    truth = poisoned_rows(backdoor(run.scene), len(train)) if Access.ORACLE in spec_of(run.subject).needs else None
    plugin = run.plugin()
    with unchanged(run.seen, INPUTS, training_set=train, clean_rows=clean), run.seen.acting("sanitise"):
        run.seen.keep("sanitise", plugin.sanitise(train, Aux(defender_clean=clean, poisoned=truth), run.ctx))


def _reinforce(run: Rehearsal) -> None:
    plugin = run.plugin()
    with run.seen.acting("reinforce"):
        run.seen.keep("reinforce", {name: plugin.reinforce(recipe) for name, recipe in RECIPES.items()})


def _own_fit(run: Rehearsal) -> None:
    if (fitted := own_fit(run)) is not None:
        with run.seen.acting("asking the model of its own fit"):
            run.seen.answers |= answers_of("fitted", fitted.answers(run.images()))


def own_fit(run: Rehearsal) -> Standing | None:
    """The model that the defence fitted; `None` when it is no model. What it keeps of it is in `run.own`."""
    licence, train = run.licence(NETWORK_OFFERS), poisoned_train(run.scene)
    plugin, victim = run.plugin(), run.victim(licence)
    with unchanged(run.seen, INPUTS, training_set=train), run.seen.acting("fit"):
        model = run.seen.keep("own fit", plugin.fit(victim, train, victim.recipe(), run.ctx))
    if not isinstance(model, Model):
        return None
    with run.seen.acting("state"):
        run.own.update(run.seen.keep("own fit state", model.state()))
    return Standing(model, licence)


def inspect(run: Rehearsal) -> None:
    clean = run.clean()
    plugin = run.plugin()
    watching = unchanged(run.seen, INPUTS, clean_rows=clean)
    with _handed(run, run.licence()) as model, watching, run.seen.acting("inspect"):
        run.seen.keep("inspect", plugin.inspect(model, clean, run.ctx))


def _repair(run: Rehearsal) -> None:
    if (mended := repaired(run)) is not None:
        with run.seen.acting("asking the repaired model"):
            run.seen.answers |= answers_of("repaired", mended.answers(run.images()))


def repaired(run: Rehearsal) -> Standing | None:
    """The repaired model; `None` when it is no model. The model handed over is the plugin's to change, unlike that of
    other acts."""
    licence, clean = run.licence(NETWORK_OFFERS), run.clean()
    model, plugin = _victims_model(run, licence)[0], run.plugin()
    with unchanged(run.seen, INPUTS, clean_rows=clean), run.seen.acting("repair"):
        mended = run.seen.keep("repair", plugin.repair(model, clean, _stored(run), run.ctx))
    if not isinstance(mended, Model):
        return None
    with run.seen.acting("state"):
        run.seen.keep("repair state", mended.state())
    return Standing(mended, licence)


def _guard(run: Rehearsal) -> None:
    with guarded(run) as guard:
        if guard is not None:
            with run.seen.acting("asking the guarded model"):
                run.seen.answers |= answers_of("guarded", guard.answers(run.images()))


@contextmanager
def guarded(run: Rehearsal) -> Iterator[Standing | None]:
    """The model behind the guard; `None` when the defence gave no guard."""
    plugin, licence = run.plugin(), run.licence(NETWORK_OFFERS - {Access.WEIGHTS})
    with _handed(run, licence) as model:
        with run.seen.acting("guard"):
            guard = run.seen.keep("guard", plugin.guard(model, run.ctx))
        sound = isinstance(guard, Guard) and isinstance(guard.model, Model)
        yield Standing(guard.model, licence, guard.randomised) if sound else None


def _detect(run: Rehearsal) -> None:
    with calibrated(run) as score:
        clean = torch.from_numpy(run.clean().x.copy()).to(run.scene.device)
        run.seen.keep("score", score(run.images()))
        run.seen.keep("score of clean rows", score(clean))


@contextmanager
def calibrated(run: Rehearsal) -> Iterator[Callable[[Tensor], Any]]:
    """What scores images, once the detector is calibrated."""
    plugin, clean = run.plugin(), run.clean()
    with _answering(run) as model, unchanged(run.seen, INPUTS, clean_rows=clean):
        with run.seen.acting("calibrate"):
            state = run.seen.keep("calibrate", plugin.calibrate(model, clean, run.ctx))

        def score(x: Tensor) -> Any:
            with unchanged(run.seen, INPUTS, images=x), run.seen.acting("score"):
                return plugin.score(model, x, state, run.ctx)

        yield score


def _certify(run: Rehearsal) -> None:
    with certifying(run) as certify:
        run.seen.keep("certify", certify(run.images()))


@contextmanager
def certifying(run: Rehearsal) -> Iterator[Callable[[Tensor], Any]]:
    """What certifies images."""
    plugin = run.plugin()
    with _answering(run) as model:

        def certify(x: Tensor) -> Any:
            with unchanged(run.seen, INPUTS, images=x), run.seen.acting("certify"):
                return plugin.certify(model, x, run.ctx)

        yield certify


PERFORMED: Mapping[Act, Callable[[Rehearsal], None]] = {
    Act.SANITISE: _sanitise,
    Act.REINFORCE: _reinforce,
    Act.OWN_FIT: _own_fit,
    Act.INSPECT: inspect,
    Act.REPAIR: _repair,
    Act.GUARD: _guard,
    Act.DETECT: _detect,
    Act.CERTIFY: _certify,
}
"""The acts, in the order of the harness."""


# the model that they get


def _victims_model(run: Rehearsal, licence: Licence) -> tuple[Model, dict[str, Any]]:
    """A copy of the victim's model, and the networks in it. Where the defence fits it, it also restores it."""
    if Act.OWN_FIT in spec_of(run.subject).acts and not run.own:
        own_fit(run)
    if run.own:
        plugin = run.plugin()
        with run.seen.acting("restore"):
            return plugin.restore(run.victim(licence), run.own, run.ctx), {}
    model = poisoned_model(run.scene)
    return LimitedModel(model, licence), {"network": model.network}


@contextmanager
def _handed(run: Rehearsal, licence: Licence) -> Iterator[Model]:
    """The victim's model, which must stay as it is."""
    model, networks = _victims_model(run, licence)
    with unchanged(run.seen, MODEL, **networks):
        yield model


@contextmanager
def _answering(run: Rehearsal) -> Iterator[Model]:
    """What answers at inference: the model behind the defence's own guard, where it has one."""
    with ExitStack() as stack:
        if Act.GUARD in spec_of(run.subject).acts:
            guard = stack.enter_context(guarded(run))
            if guard is not None:
                yield guard.model
                return
        yield stack.enter_context(_handed(run, run.licence()))


def _stored(run: Rehearsal) -> Finding | None:
    """The finding as it comes back from the store: `None` where the defence does not inspect."""
    found = run.seen.returned.get("inspect")
    if not isinstance(found, Finding):
        return None
    arrays = {name: np.array(array) for name, array in found.arrays.items()}
    return Finding(bool(found.accused), float(found.score), tuple(found.labels), arrays)


def made_again(run: Rehearsal, state: Arrays) -> Standing:
    """The fitted or repaired model from its arrays, as the harness makes it before every later stage."""
    licence = run.licence(NETWORK_OFFERS)
    with run.seen.acting("restore"):
        if Act.OWN_FIT in spec_of(run.subject).acts:
            return Standing(run.plugin().restore(run.victim(licence), state, run.ctx), licence)
        return Standing(run.victim(licence).restore(state, run.ctx), licence)


# what the answers of a defence must be


def legal_defence(subject: Subject, seen: Performance) -> None:
    """Raise `RuleBroken` where a returned value is not what the contract says."""
    for act, returned in seen.returned.items():
        wanted, check = LEGAL[act]
        if not isinstance(returned, wanted):
            raise RuleBroken(f"{subject}, {act}: got {type(returned).__name__}; expected {wanted.__name__}")
        check(str(subject), returned, seen)


def _legal_recipes(name: str, recipes: Mapping[str, Any], seen: Performance) -> None:
    for recipe in recipes.values():
        if not isinstance(recipe, Recipe):
            raise RuleBroken(f"{name} returned {type(recipe).__name__}; expected a Recipe")


def _legal_finding(name: str, finding: Finding, seen: Performance) -> None:
    checked_finding(name, finding, seen.scene.classes)
    for array, values in finding.arrays.items():
        if not isinstance(values, np.ndarray):
            raise RuleBroken(f"{name} found {type(values).__name__} as {array}; expected a numpy array")


def _legal_model(answers: str, name: str, model: Any, seen: Performance) -> None:
    """`answers`: under which the model's answers are kept."""
    scene, start = seen.scene, f"{answers}/"
    if not isinstance(model, Model):
        raise RuleBroken(f"{name} returned {type(model).__name__}; expected a Model")
    if (classes := getattr(model, "classes", None)) != scene.classes:
        raise RuleBroken(f"{name} made a model of {classes} classes; expected {scene.classes}")
    given = {kind.removeprefix(start): values for kind, values in seen.answers.items() if kind.startswith(start)}
    check_answers(name, given, (scene.batch, *scene.shape), scene.classes)


def _legal_guard(name: str, guard: Guard, seen: Performance) -> None:
    _legal_model("guarded", name, guard.model, seen)


def _legal_state(name: str, state: Arrays, seen: Performance) -> None:
    checked_state(name, state)


def _legal_verdict(name: str, verdict: Sanitised, seen: Performance) -> None:
    checked_sanitised(name, verdict, seen.scene.train())


def _legal_scores(name: str, scores: Tensor, seen: Performance) -> None:
    checked_suspicion(name, scores.detach().cpu().numpy(), seen.scene.batch)


def _legal_scores_of_clean_rows(name: str, scores: Tensor, seen: Performance) -> None:
    checked_suspicion(name, scores.detach().cpu().numpy(), seen.scene.rows // 2)


def _legal_certificate(name: str, given: Certificate, seen: Performance) -> None:
    checked_certificate(name, given, seen.scene.batch, seen.scene.classes)


LEGAL: Mapping[str, tuple[type[Any], Callable[[str, Any, Performance], None]]] = {
    "sanitise": (Sanitised, _legal_verdict),
    "reinforce": (Mapping, _legal_recipes),
    "own fit": (Model, partial(_legal_model, "fitted")),
    "own fit state": (Mapping, _legal_state),
    "inspect": (Finding, _legal_finding),
    "repair": (Model, partial(_legal_model, "repaired")),
    "repair state": (Mapping, _legal_state),
    "guard": (Guard, _legal_guard),
    "calibrate": (Mapping, _legal_state),
    "score": (Tensor, _legal_scores),
    "score of clean rows": (Tensor, _legal_scores_of_clean_rows),
    "certify": (Certificate, _legal_certificate),
}
"""What each act returns, and what more must hold of it."""
