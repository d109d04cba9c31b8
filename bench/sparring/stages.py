"""The stage functions, in the order in which a cell goes through them. Each reads like a recipe.

A stage function takes the stage, the workshop and the context, and returns a `Product`. Its name is the stage's name:
the key of a stage covers exactly the code that its function reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparring.contracts import Aux, Context, Finding
from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned, Targets, split_train
from sparring.judge import (
    checked_images,
    checked_labels,
    checked_poison,
    inputs_kept,
    within_budget,
)
from sparring.measuring import measured
from sparring.model import ExpectedModel, MeteredModel, Model
from sparring.stage import RuleBroken, Stage, StageName
from sparring.threat import Access, Goal, ThreatModel
from sparring.workshop import Workshop

if TYPE_CHECKING:
    from torch import Tensor


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
    victim = shop.plugin(stage, "victim")
    recipe = _reinforced(stage, shop, victim.recipe())
    return Product(victim.pretrain(shop.data(stage).fit, recipe, ctx).state())


def poison(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the attack poison the training set: one delta per trial, checked."""
    name, data, threat = shop.name(stage, "attack"), shop.data(stage), _threat(stage)
    trials = int(stage.settings["trials"])
    targets = draw_targets(data.test, trials, stage.settings["target_seed"]) if threat.goal == Goal.TARGETED else None
    attack, aux = shop.plugin(stage, "attack"), _attack_aux(stage, shop, ctx)
    with inputs_kept(name):
        deltas = attack.poison(data.fit, threat, targets, aux, ctx)
    if len(deltas) != trials:
        raise RuleBroken(f"{name} returned {len(deltas)} poisonings; expected {trials}, one per trial")
    arrays: dict[str, NDArray[Any]] = {}
    for trial, delta in enumerate(checked_poison(name, d, data.fit, threat) for d in deltas):
        part: Arrays = {"rows": delta.rows, "x": delta.x, "y": delta.y}
        part = {**part, **{f"state/{name}": array for name, array in delta.state.items()}}
        arrays |= {f"trial/{trial}/{k}": v for k, v in part.items()}
    if targets is not None:
        arrays |= {"target/x": targets.x, "target/y": targets.y, "target/goal": targets.goal}
    return Product(arrays)


def sanitise(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the defence clean the training set it was given."""
    name, data = shop.name(stage, "defence"), shop.data(stage)
    delta = shop.poisoned(stage, int(stage.settings["trial"]))
    train = data.fit if delta is None else data.fit.with_delta(delta)
    aux = Aux(defender_clean=data.defender_clean, poisoned=poisoned_rows(delta, len(train)))
    with inputs_kept(name):
        verdict = shop.plugin(stage, "defence").sanitise(train, aux, ctx)
    keep = np.asarray(verdict.keep)
    if keep.shape != (len(train),) or keep.dtype != np.bool_:
        raise RuleBroken(f"{name} returned a mask of shape {keep.shape}, {keep.dtype}; expected ({len(train)},) bool")
    if not keep.any():
        raise RuleBroken(f"{name} removed the whole training set")
    if verdict.y is None:
        return Product({"keep": keep})
    return Product({"keep": keep, "y": checked_labels(name, np.asarray(verdict.y), len(train), train.classes)})


def fit(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Train the victim: by itself, on pretrained features, by the defence that owns the training, or in rounds."""
    victim, train = shop.plugin(stage, "victim"), shop.training_set(stage, int(stage.settings.get("trial", 0)))
    recipe = _reinforced(stage, shop, victim.recipe())
    name = shop.name(stage, "victim")
    with inputs_kept(name):
        if "features" in stage.inputs:
            model = victim.fit_head(shop.features(stage, ctx), train, ctx)
        elif hasattr(victim, "fit_rounds"):
            model = _fit_rounds(stage, shop, victim, train, ctx)
        elif "trainer" in stage.plugins:
            model = shop.plugin(stage, "trainer").fit(victim, train, recipe, ctx)
        else:
            model = victim.fit(train, recipe, ctx)
    return Product(_finite(name, model.state()))


def inspect(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the defence say whether the model was poisoned."""
    finding: Finding = shop.plugin(stage, "defence").inspect(shop.own_model(stage, ctx), _clean(stage, shop), ctx)
    said = {"accused": bool(finding.accused), "score": float(finding.score), "labels": [int(k) for k in finding.labels]}
    return Product(finding.arrays, {"finding": said})


def repair(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Have the defence mend the model, given its finding."""
    defence = shop.plugin(stage, "defence")
    mended = defence.repair(shop.own_model(stage, ctx), _clean(stage, shop), shop.finding(stage), ctx)
    return Product(_finite(shop.name(stage, "defence"), mended.state()))


def perturb(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Attack test images at inference through a metered view of the model."""
    name, threat, test = shop.name(stage, "attack"), _threat(stage), shop.data(stage).test
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    before, labels = test.rows(rows).x, test.y[rows]
    goal = draw_goals(labels, test.classes, stage.settings["sample_seed"]) if threat.goal == Goal.TARGETED else None
    view = _metered(stage, shop, ctx, len(rows))
    x, y = shop.tensor(before), shop.tensor(labels)
    aux = _attack_aux(stage, shop, ctx, goal)
    given = x.clone()
    after = shop.plugin(stage, "attack").perturb(view, x, y, threat, aux, ctx)
    if not torch.equal(x, given):
        raise RuleBroken(f"{name} changed its input in place; work on a copy")
    moved = checked_images(name, after.detach().cpu().numpy(), before.shape)
    moved = within_budget(name, before, moved, threat)
    meta = {"forward": view.meter.forward / max(1, len(rows)), "gradient": view.meter.gradient / max(1, len(rows))}
    return Product({"x": moved, "rows": rows, "goal": _goals(goal, len(rows))}, meta)


def trigger(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Put the trigger on test images that are not of the target class already."""
    name, test, attack = shop.name(stage, "attack"), shop.data(stage).test, shop.plugin(stage, "attack")
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    goal = checked_labels(name, np.asarray(attack.target_of(test.y[rows])), len(rows), test.classes)
    rows, goal = rows[goal != test.y[rows]], goal[goal != test.y[rows]]
    before = test.rows(rows).x
    delta = shop.poisoned(stage)
    with inputs_kept(name):
        after = attack.trigger(_locked(before), test.y[rows], delta.state if delta else {}, ctx)
    return Product({"x": checked_images(name, np.asarray(after), before.shape), "rows": rows, "goal": goal})


def probe(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Further inputs that the attack wants the poisoned model to be asked."""
    name, test = shop.name(stage, "attack"), shop.data(stage).test
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    delta = shop.poisoned(stage)
    with inputs_kept(name):
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
    model, name = _guarded(stage, shop, ctx), shop.name(stage, "victim")
    arrays = {}
    for source, images in _inputs(stage, shop).items():
        labels = model.predict(shop.tensor(images)).cpu().numpy()
        arrays[source] = checked_labels(name, labels, len(images), shop.data(stage).test.classes)
    return Product(arrays)


def detect(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Suspicion of clean and attacked inputs; the threshold is a quantile over the defender's clean rows."""
    defence, name, clean = shop.plugin(stage, "defence"), shop.name(stage, "defence"), _clean(stage, shop)
    model = _guarded(stage, shop, ctx)
    state = defence.calibrate(model, clean, ctx)

    def suspicion(images: FloatArray) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = defence.score(model, shop.tensor(images), state, ctx).detach().cpu().numpy()
        if scores.shape != (len(images),) or not np.isfinite(scores).all():
            raise RuleBroken(f"{name} returned scores of shape {scores.shape}; expected ({len(images)},), finite")
        return np.asarray(scores, dtype=np.float64)

    threshold = np.quantile(suspicion(clean.x), 1 - stage.settings["false_positive_rate"])
    arrays = {"clean": suspicion(shop.data(stage).test.x), "threshold": np.array(threshold)}
    if "source" in stage.inputs:
        arrays["attacked"] = suspicion(shop.artifact(stage, "source").arrays["x"])
    return Product(arrays)


def certify(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """Certified predictions and radii of sampled test images."""
    test = shop.data(stage).test
    rows = sampled_rows(len(test), stage.settings["samples"], stage.settings["sample_seed"])
    model = _guarded(stage, shop, ctx)
    given = shop.plugin(stage, "defence").certify(model, shop.tensor(test.rows(rows).x), ctx)
    prediction, radius = np.asarray(given.prediction, np.int64), np.asarray(given.radius, np.float64)
    if prediction.shape != (len(rows),) or radius.shape != (len(rows),) or not (radius >= 0).all():
        raise RuleBroken(f"{shop.name(stage, 'defence')} certified {prediction.shape} inputs; expected ({len(rows)},)")
    meta = {"unit": given.unit, "confidence": float(given.confidence)}
    return Product({"prediction": prediction, "radius": radius, "rows": rows}, meta)


def measure(stage: Stage, shop: Workshop, ctx: Context) -> Product:
    """All metrics of one cell, from what earlier stages left; nothing is attacked or fitted again."""
    return Product(value=measured(stage, shop))


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
    StageName.DETECT: detect,
    StageName.CERTIFY: certify,
    StageName.MEASURE: measure,
}


# what the stages above share


def sampled_rows(count: int, samples: int, seed: int) -> IntArray:
    """Sorted rows of the test set that are attacked: all, or a random sample without replacement."""
    if samples >= count:
        return np.arange(count, dtype=np.int64)
    chosen = np.random.default_rng(seed).choice(count, size=samples, replace=False)
    return np.sort(chosen).astype(np.int64)


def draw_targets(test: ArrayDataset, trials: int, seed: int) -> Targets:
    """Test images that a targeted poisoning shall have misclassified, and as what; one per trial."""
    rows = np.random.default_rng(seed).choice(len(test), size=trials, replace=trials > len(test)).astype(np.int64)
    labels = test.y[rows]
    return Targets(x=test.rows(rows).x, y=labels, goal=draw_goals(labels, test.classes, seed), rows=rows)


def draw_goals(labels: IntArray, classes: int, seed: int) -> IntArray:
    """(N,) for each label another one, uniformly at random."""
    shift = np.random.default_rng([seed, 1]).integers(1, max(2, classes), size=len(labels))
    return ((labels + shift) % classes).astype(np.int64)


def poisoned_rows(delta: Poisoned | None, count: int) -> NDArray[np.bool_]:
    """(count,) the truth about which rows were poisoned."""
    truth = np.zeros(count, dtype=bool)
    if delta is not None:
        truth[delta.rows] = True
    return truth


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


def _finite(plugin: str, state: Arrays) -> Arrays:
    for name, array in state.items():
        if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
            raise RuleBroken(f"{plugin} was fitted to NaN in {name}: the training diverged")
    return state


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


def _metered(stage: Stage, shop: Workshop, ctx: Context, samples: int) -> MeteredModel:
    """The attack's view: the guarded model for an adaptive attack, averaged where the guard is randomised."""
    spec = shop.catalogue.attack(stage.plugins["attack"].selection.name)
    threat = _threat(stage)
    allowed = None if threat.query_budget is None else threat.query_budget * samples
    if "model" not in stage.inputs:
        return MeteredModel(_Absent(shop.data(stage).test.classes), frozenset(), allowed)
    model = shop.model(stage, "model", ctx)
    if "guard" not in stage.plugins:
        return MeteredModel(model, spec.needs, allowed)
    guard = shop.plugin(stage, "guard").guard(model, ctx)
    if not guard.randomised:
        return MeteredModel(guard.model, spec.needs, allowed)
    samples_each = int(stage.settings["expectation"])
    return MeteredModel(ExpectedModel(guard.model, samples_each), spec.needs, allowed, cost=samples_each)


class _Absent(Model):
    """Stands where an attack has no model at all: refuses everything."""

    offers: frozenset[Access] = frozenset()

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def state(self) -> Arrays:
        return {}


def _guarded(stage: Stage, shop: Workshop, ctx: Context) -> Model:
    model = shop.model(stage, "model", ctx)
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


def _fit_rounds(stage: Stage, shop: Workshop, victim: Any, train: ArrayDataset, ctx: Context) -> Model:
    """Federated training: the harness deals out the rows and says which clients are the attacker's."""
    order = ctx.rng.permutation(len(train))
    clients = [train.rows(np.sort(part)) for part in np.array_split(order, victim.clients)]
    attack = shop.plugin(stage, "attack") if "attack" in stage.plugins else None
    fraction = (stage.threat.poison_fraction if stage.threat else None) or 0.0
    malicious = set(range(round(fraction * victim.clients))) if attack else set()
    delta = shop.poisoned(stage)
    state = delta.state if delta else {}

    def corrupt(update: dict[str, Tensor], client: int, round_: int) -> dict[str, Tensor]:
        if attack is None or client not in malicious:
            return update
        corrupted: dict[str, Tensor] = attack.corrupt(update, client, round_, state, ctx)
        return corrupted

    model: Model = victim.fit_rounds(clients, victim.recipe(), corrupt, ctx)
    return model
