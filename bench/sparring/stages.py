"""The stage functions, in the order in which a cell goes through them. Each reads like a recipe.

A stage function takes the stage, the workshop and the context, and returns a `Product`. Its name is the stage's name:
the key of a stage covers exactly the code that its function reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparring import media
from sparring.contracts import Aux, Context, Finding
from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, poisoned_rows, split_train
from sparring.drawing import draw_goals, draw_targets, sampled_rows
from sparring.judge import (
    checked_certificate,
    checked_finding,
    checked_images,
    checked_labels,
    checked_poison,
    checked_sanitised,
    checked_state,
    checked_suspicion,
    rules_kept,
    within_budget,
)
from sparring.measuring import kept_files, measured
from sparring.model import ExpectedModel, Meter, MeteredModel, Model
from sparring.plugin import Act
from sparring.projection import drawn, principal_axes
from sparring.rounds import Attacker, corruption, dealt, malicious_clients
from sparring.stage import RuleBroken, Stage, StageName
from sparring.threat import Access, Goal, ThreatModel
from sparring.workshop import Workshop


@dataclass(frozen=True, eq=False)
class Product:
    """What a stage leaves: named arrays, and small plain JSON beside them. `value` goes to the driver."""

    arrays: Arrays = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    value: Mapping[str, Any] | None = None


def load(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Load a data set, and cut the training set before anything is poisoned."""
    train, test = shop.plugin(stage, "dataset").load(ctx)
    split = split_train(train.y, stage.settings["attacker_val"], stage.settings["defender_clean"], ctx.rng)
    parts = {
        "fit": train.rows(split.fit),
        "attacker_val": train.rows(split.attacker_val),
        "defender_clean": train.rows(split.defender_clean),
        "test": test,
    }
    arrays: dict[str, NDArray[Any]] = {}
    for name, part in parts.items():
        if len(part):
            arrays |= {f"{name}/x": part.pixels, f"{name}/y": part.y}
    return Product(arrays, {"class_names": list(train.class_names)})


def pretrain(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Train the features of a frozen-feature victim on its external data set."""
    name, victim, external = shop.name(stage, "victim"), shop.plugin(stage, "victim"), shop.data(stage).fit
    recipe = _reinforced(stage, shop, victim.recipe())
    with rules_kept(name, external):
        features = victim.pretrain(external, recipe, ctx)
    return Product(checked_state(name, features.state()))


def poison(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the attack poison the training set: one delta per trial, checked."""
    name, data, threat = shop.name(stage, "attack"), shop.data(stage), _threat(stage)
    trials = int(stage.settings["trials"])
    targets = draw_targets(data.test, trials, stage.settings["target_seed"]) if threat.goal == Goal.TARGETED else None
    attack, aux = shop.plugin(stage, "attack"), _attack_aux(stage, shop, ctx)
    with rules_kept(name, data.fit, data.attacker_val):
        deltas = attack.poison(data.fit, threat, targets, aux, ctx)
    if not isinstance(deltas, Sequence) or not all(isinstance(delta, Poisoned) for delta in deltas):
        raise RuleBroken(f"{name} returned {type(deltas).__name__}; expected a sequence of Poisoned, one per trial")
    if len(deltas) != trials:
        raise RuleBroken(f"{name} returned {len(deltas)} poisonings; expected {trials}, one per trial")
    arrays: dict[str, NDArray[Any]] = {}
    for trial, delta in enumerate(checked_poison(name, d, data.fit, threat) for d in deltas):
        part: dict[str, NDArray[Any]] = {"rows": delta.rows, "x": delta.x, "y": delta.y}
        part |= {f"state/{k}": v for k, v in delta.state.items()}
        arrays |= {f"trial/{trial}/{k}": v for k, v in part.items()}
    if targets is not None:
        arrays |= {"target/x": targets.x, "target/y": targets.y, "target/goal": targets.goal}
    return Product(arrays)


def sanitise(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the defence clean the training set it was given."""
    name, data = shop.name(stage, "defence"), shop.data(stage)
    delta = shop.poisoned(stage, int(stage.settings["trial"]))
    train = data.fit if delta is None else data.fit.with_delta(delta)
    needs = shop.catalogue.defence(stage.plugins["defence"].selection.name).needs
    truth = poisoned_rows(delta, len(train)) if Access.ORACLE in needs else None
    aux = Aux(defender_clean=data.defender_clean, poisoned=truth)
    with rules_kept(name, train, data.defender_clean):
        verdict = shop.plugin(stage, "defence").sanitise(train, aux, ctx)
    checked = checked_sanitised(name, verdict, train)
    return Product({"keep": checked.keep} | ({} if checked.y is None else {"y": checked.y}))


def fit(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Train the victim: by itself, on pretrained features, by the defence that owns the training, or in rounds."""
    victim, train = shop.plugin(stage, "victim"), shop.training_set(stage, int(stage.settings.get("trial", 0)))
    recipe, name = _reinforced(stage, shop, victim.recipe()), _maker(stage, shop)
    with rules_kept(name, train):
        if "features" in stage.inputs:
            model = victim.fit_head(shop.features(stage, ctx), train, ctx)
        elif Act.FIT_ROUNDS in shop.catalogue.victim(stage.plugins["victim"].selection.name).acts:
            model = _fit_rounds(stage, shop, victim, train, recipe, ctx)
        elif "trainer" in stage.plugins:
            model = shop.plugin(stage, "trainer").fit(victim, train, recipe, ctx)
        else:
            model = victim.fit(train, recipe, ctx)
    return Product(checked_state(name, model.state()))


def inspect(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the defence say whether the model was poisoned."""
    name, clean = shop.name(stage, "defence"), _clean(stage, shop)
    with rules_kept(name, clean):
        finding: Finding = shop.plugin(stage, "defence").inspect(shop.own_model(stage, "model", ctx), clean, ctx)
    return Product(finding.arrays, {"finding": checked_finding(name, finding, clean.classes)})


def repair(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the defence mend the model, given its finding."""
    name, clean = shop.name(stage, "defence"), _clean(stage, shop)
    with rules_kept(name, clean):
        model = shop.own_model(stage, "model", ctx)
        mended = shop.plugin(stage, "defence").repair(model, clean, shop.finding(stage), ctx)
    return Product(checked_state(name, mended.state()))


def perturb(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Attack test images at inference through a metered view of the model."""
    name, threat, test = shop.name(stage, "attack"), _threat(stage), shop.data(stage).test
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    before, labels = test.rows(rows).x, test.y[rows]
    goal = draw_goals(labels, test.classes, stage.settings["sample_seed"]) if threat.goal == Goal.TARGETED else None
    meter = Meter()
    view = _metered(stage, shop, ctx, len(rows), meter)
    x, y = shop.tensor(before), shop.tensor(labels)
    aux = _attack_aux(stage, shop, ctx, goal)
    given = x.clone(), y.clone()
    with rules_kept(name, aux.train, aux.attacker_val):
        after = shop.plugin(stage, "attack").perturb(view, x, y, threat, aux, ctx)
    if not (torch.equal(x, given[0]) and torch.equal(y, given[1])):
        raise RuleBroken(f"{name} changed its input in place; work on a copy")
    if not isinstance(after, torch.Tensor):
        raise RuleBroken(f"{name} returned {type(after).__name__}; expected a tensor")
    moved = checked_images(name, after.detach().cpu().numpy(), before.shape)
    moved = within_budget(name, before, moved, threat)
    meta = {"forward": meter.forward / max(1, len(rows)), "gradient": meter.gradient / max(1, len(rows))}
    return Product({"x": moved, "rows": rows, "goal": _goals(goal, len(rows))}, meta)


def trigger(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Put the trigger on test images that are not of the target class already."""
    name, test, attack = shop.name(stage, "attack"), shop.data(stage).test, shop.plugin(stage, "attack")
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    goal = checked_labels(name, np.asarray(attack.target_of(test.y[rows])), len(rows), test.classes)
    rows, goal = rows[goal != test.y[rows]], goal[goal != test.y[rows]]
    before = test.rows(rows).x
    delta = shop.poisoned(stage)
    with rules_kept(name):
        after = attack.trigger(_locked(before), test.y[rows], delta.state if delta else {}, ctx)
    return Product({"x": checked_images(name, np.asarray(after), before.shape), "rows": rows, "goal": goal})


def probe(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Further inputs that the attack wants the poisoned model to be asked."""
    name, test = shop.name(stage, "attack"), shop.data(stage).test
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    delta = shop.poisoned(stage)
    with rules_kept(name):
        probes = shop.plugin(stage, "attack").probes(
            _locked(test.rows(rows).x), test.y[rows], delta.state if delta else {}, ctx
        )
    arrays: dict[str, NDArray[Any]] = {}
    for probe_name, (x, y) in probes.items():
        labels = checked_labels(name, np.asarray(y), len(x), test.classes)
        images = checked_images(name, np.asarray(x), (len(x), *test.image_shape))
        arrays |= {f"{probe_name}/x": images, f"{probe_name}/y": labels}
    return Product(arrays)


def predict(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Ask the (guarded) model for the labels of inputs."""
    name = shop.name(stage, "guard") if "guard" in stage.plugins else _maker(stage, shop)
    arrays = {}
    with rules_kept(name):
        model = _guarded(stage, shop, ctx)
        found = {source: (len(x), model.predict(shop.tensor(x))) for source, x in _inputs(stage, shop).items()}
    for source, (count, answers) in found.items():
        labels = answers.cpu().numpy()
        arrays[source] = checked_labels(name, labels, count, shop.data(stage).test.classes)
    return Product(arrays)


def project(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Training images, as fitted, and clean test images in the plane of the first two principal components of the
    training images' last hidden layer (Feng, Cai & Zhou 2019, figure 3)."""
    model, name = shop.model(stage, "model", ctx), _maker(stage, shop)
    arrays: dict[str, NDArray[Any]] = {}
    axes: tuple[NDArray[Any], NDArray[Any]] | None = None
    for part, images in (("train", shop.training_set(stage)), ("test", shop.data(stage).test)):
        rows = drawn(len(images), ctx.rng)
        with rules_kept(name):
            features = model.features(shop.tensor(images.rows(rows).x)).detach().cpu().numpy()
        axes = principal_axes(features) if axes is None else axes
        arrays |= {f"{part}/points": ((features - axes[0]) @ axes[1]).astype(np.float32), f"{part}/y": images.y[rows]}
    return Product(arrays)


def detect(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Suspicion of clean and attacked inputs; the threshold is a quantile over the defender's clean rows."""
    defence, name, clean = shop.plugin(stage, "defence"), shop.name(stage, "defence"), _clean(stage, shop)
    with rules_kept(name, clean):
        model = _guarded(stage, shop, ctx)
        state = defence.calibrate(model, clean, ctx)

    def suspicion(images: FloatArray) -> NDArray[np.float64]:
        with rules_kept(name):
            scores = defence.score(model, shop.tensor(images), state, ctx).detach().cpu().numpy()
        return checked_suspicion(name, scores, len(images))

    threshold = np.quantile(suspicion(clean.x), 1 - stage.settings["false_positive_rate"])
    arrays = {"clean": suspicion(shop.data(stage).test.x), "threshold": np.array(threshold)}
    if "source" in stage.inputs:
        arrays["attacked"] = suspicion(shop.artifact(stage, "source").arrays["x"])
    return Product(arrays)


def certify(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Certified predictions and radii of sampled test images."""
    test = shop.data(stage).test
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    name = shop.name(stage, "defence")
    with rules_kept(name):
        model = _guarded(stage, shop, ctx)
        claimed = shop.plugin(stage, "defence").certify(model, shop.tensor(test.rows(rows).x), ctx)
    given = checked_certificate(name, claimed, len(rows), test.classes)
    meta = {"unit": given.unit, "confidence": float(given.confidence)}
    return Product({"prediction": given.prediction, "radius": given.radius, "rows": rows}, meta)


def measure(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """All metrics of one cell, from what earlier stages left; nothing is attacked or fitted again."""
    kept = kept_files(stage, shop)
    found = measured(stage, shop) | {"media": {kind: media.digest(content) for kind, content in kept.items()}}
    return Product({f"media/{kind}": content for kind, content in kept.items()}, value=found)


StageFunction = Callable[[Stage, Workshop, Context], Product]
STAGE_FUNCTIONS: Mapping[StageName, StageFunction] = {
    StageName.LOAD: load,
    StageName.PRETRAIN: pretrain,
    StageName.POISON: poison,
    StageName.SANITISE: sanitise,
    StageName.FIT: fit,
    StageName.INSPECT: inspect,
    StageName.REPAIR: repair,
    StageName.PERTURB: perturb,
    StageName.TRIGGER: trigger,
    StageName.PROBE: probe,
    StageName.PREDICT: predict,
    StageName.PROJECT: project,
    StageName.DETECT: detect,
    StageName.CERTIFY: certify,
    StageName.MEASURE: measure,
}


# what the stages above share


def _threat(stage: Stage) -> ThreatModel:
    assert stage.threat is not None, f"{stage.label} was planned without a threat model"
    return stage.threat


def _goals(goal: IntArray | None, count: int) -> IntArray:
    return np.full(count, -1, dtype=np.int64) if goal is None else goal


def _locked(images: FloatArray) -> FloatArray:
    images.flags.writeable = False
    return images


def _clean(stage: Stage, shop: Workshop) -> ArrayDataset:
    clean = shop.data(stage).defender_clean
    if clean is None:
        raise RuleBroken(
            f"{shop.name(stage, 'defence')} needs clean data of the defender; set splits.defender_clean in the suite"
        )
    return clean


def _reinforced(stage: Stage, shop: Workshop, recipe: Any) -> Any:
    return shop.plugin(stage, "reinforcer").reinforce(recipe) if "reinforcer" in stage.plugins else recipe


def _attack_aux(stage: Stage, shop: Workshop, ctx: Context, goal: IntArray | None = None) -> Aux:
    spec = shop.catalogue.attack(stage.plugins["attack"].selection.name)
    data = shop.data(stage)
    return Aux(
        surrogates=shop.surrogates(stage, ctx),
        attacks=shop.attacks(stage),
        features=shop.features(stage, ctx) if "features" in stage.inputs else None,
        attacker_val=data.attacker_val,
        train=data.fit if Access.TRAINING_DATA in spec.needs else None,
        goal_labels=None if goal is None else shop.tensor(goal),
    )


def _metered(stage: Stage, shop: Workshop, ctx: Context, samples: int, meter: Meter) -> MeteredModel:
    """The attack's view: the guarded model for an adaptive attack, averaged where the guard is randomised."""
    name, threat = shop.name(stage, "attack"), _threat(stage)
    needs = shop.catalogue.attack(stage.plugins["attack"].selection.name).needs
    allowed = None if threat.query_budget is None else threat.query_budget * samples
    model: Model = _Absent(shop.data(stage).test.classes)
    cost = 1
    if "model" in stage.inputs:
        own = Access.WEIGHTS in needs or "guard" in stage.plugins
        model = shop.own_model(stage, "model", ctx) if own else shop.model(stage, "model", ctx)
    if "guard" in stage.plugins:
        guard = shop.plugin(stage, "guard").guard(model, ctx)
        cost = int(stage.settings["expectation"]) if guard.randomised else 1
        model = ExpectedModel(guard.model, cost) if guard.randomised else guard.model
    return MeteredModel(model, needs, allowed, cost, meter=meter, attack=name)


class _Absent(Model):
    """Stands where an attack has no model at all: refuses everything."""

    offers: frozenset[Access] = frozenset()

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def state(self) -> Arrays:
        return {}


def _guarded(stage: Stage, shop: Workshop, ctx: Context) -> Model:
    """What answers at inference. A defence gets a copy of its own: what it does to it stays in its stage."""
    if not {"guard", "defence"} & stage.plugins.keys():
        return shop.model(stage, "model", ctx)
    model = shop.own_model(stage, "model", ctx)
    guarded: Model = shop.plugin(stage, "guard").guard(model, ctx).model if "guard" in stage.plugins else model
    return guarded


def _inputs(stage: Stage, shop: Workshop) -> dict[str, FloatArray]:
    """What `predict` predicts, by the name its labels are stored under."""
    of, trial = stage.settings["of"], int(stage.settings.get("trial", 0))
    if of == "test":
        return {"labels": shop.data(stage).test.x}
    if of == "train":
        return {"labels": shop.training_set(stage, trial).x}
    arrays = shop.artifact(stage, "source").arrays
    if of == "target":
        return {"labels": arrays["target/x"][trial : trial + 1]}
    if of == "probes":
        return {name.removesuffix("/x"): images for name, images in arrays.items() if name.endswith("/x")}
    return {"labels": arrays["x"]}


def _fit_rounds(stage: Stage, shop: Workshop, victim: Any, train: ArrayDataset, recipe: Any, ctx: Context) -> Model:
    """Federated training; the rows are dealt by the seed of the fit, so that twins have the same honest clients."""
    attacker = _attacker(stage, shop)
    malicious = malicious_clients(attacker.fraction, victim.clients) if attacker else 0
    poisoned = attacker.rows if attacker else np.empty(0, dtype=np.int64)
    clients = dealt(train, victim.clients, malicious, poisoned, ctx.seed)
    model: Model = victim.fit_rounds(clients, recipe, corruption(attacker, victim.clients, ctx), ctx)
    return model


def _attacker(stage: Stage, shop: Workshop) -> Attacker | None:
    if "attack" not in stage.plugins:
        return None
    delta = shop.poisoned(stage)
    return Attacker(
        name=shop.name(stage, "attack"),
        attack=shop.plugin(stage, "attack"),
        fraction=_threat(stage).poison_fraction or 0.0,
        rows=delta.rows if delta else np.empty(0, dtype=np.int64),
        state=delta.state if delta else {},
    )


def _maker(stage: Stage, shop: Workshop) -> str:
    """Who made the model, for messages: the victim, or the defence that owns the training."""
    return shop.name(stage, "trainer" if "trainer" in stage.plugins else "victim")
