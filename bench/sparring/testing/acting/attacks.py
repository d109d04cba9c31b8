"""Attacks: poisoning, triggers and probes, corrupted updates, perturbed images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparring.contracts import Aux, Context
from sparring.data import Poisoned, distortion
from sparring.drawing import draw_goals, draw_targets
from sparring.judge import ROUNDING, checked_images, checked_labels, checked_poison, within_budget
from sparring.model import Meter, MeteredModel
from sparring.plugin import Act, AttackSpec, Kind
from sparring.stage import RuleBroken
from sparring.testing.performance import INPUTS, MODEL, Performance, unchanged, watched
from sparring.testing.reference import CountingModel, fitted_model
from sparring.testing.scene import Scene, writable
from sparring.testing.subject import Subject
from sparring.threat import Access, Goal, ThreatModel
from sparring.threat_params import threat_of_cell

TRIALS = 2
"""Targets of a targeted poisoning."""


def threat_of(subject: Subject, scene: Scene) -> ThreatModel:
    """What the attacker may do in the scene: as a cell of a suite that states nothing, with the scene's fields over
    it. Fields that the attack does not read are not stated."""
    threat = threat_of_cell(_spec(subject), subject.threat, ThreatModel())
    return threat if scene.threat is None else scene.threat.over(threat)


def attack(subject: Subject, scene: Scene) -> Performance:
    """All acts of an attack."""
    acts = _spec(subject).acts
    with watched(scene) as (seen, ctx):
        with seen.acting("load"):
            plugin = subject.load()
        state: dict[str, Any] = {}
        if Act.POISON in acts:
            state = _poison(subject, scene, plugin, seen, ctx)
        if Act.TRIGGER in acts:
            _trigger(scene, plugin, state, seen, ctx)
        if Act.PROBES in acts:
            _probes(scene, plugin, state, seen, ctx)
        if Act.CORRUPT in acts:
            _corrupt(scene, plugin, state, seen, ctx)
        if Act.PERTURB in acts:
            _perturb(subject, scene, plugin, seen, ctx)
    return seen


def _spec(subject: Subject) -> AttackSpec:
    spec = subject.spec
    assert isinstance(spec, AttackSpec)
    return spec


def _poison(subject: Subject, scene: Scene, plugin: Any, seen: Performance, ctx: Context) -> Any:
    """Poison the training set; returns the state of the first trial, which triggers and probes get back."""
    threat, train = threat_of(subject, scene), writable(scene.train())
    targets = draw_targets(scene.test(), TRIALS, seed=3) if threat.goal == Goal.TARGETED else None
    aux = _aux(subject, scene)
    with unchanged(seen, INPUTS, training_set=train), _models_unchanged(seen, aux), seen.acting("poison"):
        deltas = seen.keep("poison", plugin.poison(train, threat, targets, aux, ctx))
    first = deltas[0] if isinstance(deltas, Sequence) and deltas else None
    return first.state if isinstance(first, Poisoned) else {}


def _trigger(scene: Scene, plugin: Any, state: Any, seen: Performance, ctx: Context) -> None:
    test = scene.test()
    x, y = test.x.copy(), test.y.copy()
    with unchanged(seen, INPUTS, images=x, labels=y), seen.acting("trigger"):
        seen.keep("trigger", plugin.trigger(x, y, state, ctx))
    with seen.acting("target_of"):
        seen.keep("target_of", plugin.target_of(test.y.copy()))


def _probes(scene: Scene, plugin: Any, state: Any, seen: Performance, ctx: Context) -> None:
    test = scene.test()
    x, y = test.x.copy(), test.y.copy()
    with unchanged(seen, INPUTS, images=x, labels=y), seen.acting("probes"):
        seen.keep("probes", plugin.probes(x, y, state, ctx))


def _corrupt(scene: Scene, plugin: Any, state: Any, seen: Performance, ctx: Context) -> None:
    """Two rounds of two malicious clients, whose honest updates are small random changes of the reference network."""
    generator = torch.Generator().manual_seed(5)
    parameters = dict(fitted_model(scene).weights().named_parameters())
    for round_, client in product(range(2), range(2)):
        update = {
            name: 0.01 * torch.randn(p.shape, generator=generator).to(scene.device) for name, p in parameters.items()
        }
        with unchanged(seen, INPUTS, **update), seen.acting("corrupt"):
            seen.keep(f"corrupt/{round_}/{client}", plugin.corrupt(update, client, round_, state, ctx))


def _perturb(subject: Subject, scene: Scene, plugin: Any, seen: Performance, ctx: Context) -> None:
    spec, threat, test = _spec(subject), threat_of(subject, scene), scene.test()
    x, y = (torch.from_numpy(array).to(scene.device) for array in (test.x.copy(), test.y.copy()))
    goals = draw_goals(test.y, scene.classes, seed=3) if threat.goal == Goal.TARGETED else None
    aux = _aux(subject, scene, None if goals is None else torch.from_numpy(goals).to(scene.device))
    inner, meter = CountingModel(fitted_model(scene)), Meter()
    granted = spec.needs if scene.access is None else scene.access
    rows = None if threat.query_budget is None else threat.query_budget * len(x)
    view = MeteredModel(inner, granted, rows, meter=meter, attack=str(subject))
    with ExitStack() as watching:
        watching.enter_context(unchanged(seen, INPUTS, images=x, labels=y))
        watching.enter_context(unchanged(seen, MODEL, network=inner.network))
        watching.enter_context(_models_unchanged(seen, aux))
        with seen.acting("perturb"):
            seen.keep("perturb", plugin.perturb(view, x, y, threat, aux, ctx))
    seen.counted, seen.passed = meter.forward, inner.passed


@contextmanager
def _models_unchanged(seen: Performance, aux: Aux) -> Iterator[None]:
    """What came with the auxiliary models and data stays as it was."""
    models = {f"surrogate_{name}": model.weights() for name, model in aux.surrogates.items()}
    if aux.features is not None:
        models["features"] = aux.features.weights()
    data = {"training_set": aux.train, "validation_set": aux.attacker_val}
    with unchanged(seen, MODEL, **models), unchanged(seen, INPUTS, **{k: v for k, v in data.items() if v is not None}):
        yield


def _aux(subject: Subject, scene: Scene, goals: torch.Tensor | None = None) -> Aux:
    """Everything that the declaration asks for. All surrogates, and frozen features, are the reference network."""
    spec, params = _spec(subject), subject.selection.params
    attacks = {name: subject.catalogue.load(Kind.ATTACK, getattr(params, name)) for name in spec.plugins}
    return Aux(
        surrogates={name: fitted_model(scene) for name in spec.surrogates},
        attacks=attacks,
        features=fitted_model(scene) if Access.FEATURES in spec.needs else None,
        attacker_val=writable(scene.images(scene.rows // 2, "validation")),
        train=writable(scene.train()) if Access.TRAINING_DATA in spec.needs else None,
        goal_labels=goals,
    )


# what the answers of an attack must be


def legal_attack(subject: Subject, seen: Performance) -> None:
    """Raise `RuleBroken` where a returned value is not what the contract says, the size of the budget aside."""
    name, scene = str(subject), seen.scene
    free = ThreatModel()
    if "poison" in seen.returned:
        for delta in deltas_of(subject, seen):
            checked_poison(name, delta, scene.train(), free)
    if "trigger" in seen.returned:
        checked_images(name, _array(name, seen.returned["trigger"]), (scene.batch, *scene.shape))
        checked_labels(name, _array(name, seen.returned["target_of"]), scene.batch, scene.classes)
    for probe, (x, y) in seen.returned.get("probes", {}).items():
        checked_images(name, _array(name, x), (len(y), *scene.shape))
        checked_labels(f"{name}, probe {probe}", _array(name, y), len(y), scene.classes)
    if "perturb" in seen.returned:
        checked_images(name, perturbed(subject, seen), (scene.batch, *scene.shape))


def deltas_of(subject: Subject, seen: Performance) -> list[Poisoned]:
    """What it poisoned, one per trial. Raises `RuleBroken`."""
    deltas, threat = seen.returned["poison"], threat_of(subject, seen.scene)
    trials = TRIALS if threat.goal == Goal.TARGETED else 1
    if not isinstance(deltas, Sequence) or not all(isinstance(delta, Poisoned) for delta in deltas):
        raise RuleBroken(f"{subject} returned {type(deltas).__name__}; expected a sequence of Poisoned, one per trial")
    if len(deltas) != trials:
        raise RuleBroken(f"{subject} returned {len(deltas)} poisonings; expected {trials}, one per trial")
    return list(deltas)


def perturbed(subject: Subject, seen: Performance) -> NDArray[Any]:
    """The adversarial images as an array. Raises `RuleBroken`."""
    images = seen.returned["perturb"]
    if not isinstance(images, torch.Tensor):
        raise RuleBroken(f"{subject} returned {type(images).__name__}; expected a tensor")
    if images.device != torch.device(seen.scene.device):
        raise RuleBroken(f"{subject} returned images on {images.device}; expected {seen.scene.device}")
    return images.detach().cpu().numpy()


def _array(name: str, value: Any) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise RuleBroken(f"{name} returned {type(value).__name__}; expected a numpy array")
    return value


def within_epsilon(subject: Subject, seen: Performance, threat: ThreatModel) -> None:
    """Raise `RuleBroken` where an image moved further than `threat` allows."""
    name, scene = str(subject), seen.scene
    if "perturb" in seen.returned:
        within_budget(name, scene.test().x, perturbed(subject, seen), threat)
    if "poison" in seen.returned:
        for delta in deltas_of(subject, seen):
            within_budget(name, scene.train().rows(delta.rows).x, np.asarray(delta.x), threat)


def within_fraction(subject: Subject, seen: Performance, threat: ThreatModel) -> None:
    """Raise `RuleBroken` where more rows were poisoned than `threat` allows."""
    for delta in deltas_of(subject, seen) if "poison" in seen.returned else ():
        checked_poison(str(subject), delta, seen.scene.train(), threat)


def changed_labels(subject: Subject, seen: Performance) -> int:
    """Labels that the poisoning changed."""
    deltas, y = deltas_of(subject, seen) if "poison" in seen.returned else [], seen.scene.train().y
    return sum(int((delta.y != y[delta.rows]).sum()) for delta in deltas)


def poisoned_count(subject: Subject, seen: Performance) -> int:
    """Rows that were poisoned, over all trials."""
    return sum(len(delta.rows) for delta in deltas_of(subject, seen))


def moved_images(subject: Subject, seen: Performance) -> int:
    """Images that are not what they were."""
    moved = 0
    if "perturb" in seen.returned:
        before, after = seen.scene.test().x, perturbed(subject, seen)
        moved += int((distortion(before, after).linf > ROUNDING).sum())
    if "poison" in seen.returned:
        train = seen.scene.train()
        for delta in deltas_of(subject, seen):
            moved += int((distortion(train.rows(delta.rows).x, np.asarray(delta.x)).linf > ROUNDING).sum())
    return moved
