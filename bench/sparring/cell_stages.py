"""The stages of one cell: each method adds one to the blueprint, with all that it depends on and nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sparring.cell import Cell, Selection
from sparring.plugin import Act, Kind
from sparring.stage import Plugged, Stage, StageName
from sparring.suite_file import Kept
from sparring.threat import MODEL_ACCESS, Access, Goal, ThreatModel

if TYPE_CHECKING:
    from sparring.blueprint import Blueprint

_NO_ACTS: frozenset[Act] = frozenset()


class CellStages:
    """The stages of one cell. Trials are numbered; attacks without targets have trial 0 only.

    Args:
        blueprint: where the stages are added.
        cell: the cell.
        attack_acts: what the attack does; `None`: all that its spec says. Nothing, for the clean twin.
        defence_acts: what the defence does, likewise.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        cell: Cell,
        attack_acts: frozenset[Act] | None = None,
        defence_acts: frozenset[Act] | None = None,
    ) -> None:
        self.blueprint = blueprint
        self.cell = cell
        self.victim = blueprint.plugged(Kind.VICTIM, cell.victim)
        self.attack = blueprint.plugged(Kind.ATTACK, cell.attack)
        self.defence = blueprint.plugged(Kind.DEFENCE, cell.defence)
        self.victim_spec = blueprint.catalogue.victim(cell.victim.name)
        self.attack_spec = blueprint.catalogue.attack(cell.attack.name)
        self.defence_spec = blueprint.catalogue.defence(cell.defence.name)
        self.attack_acts = self.attack_spec.acts if attack_acts is None else attack_acts
        self.defence_acts = self.defence_spec.acts if defence_acts is None else defence_acts
        self.data_name = blueprint.text(cell.dataset)
        self.victim_name = blueprint.text(cell.victim)
        self.defence_name = blueprint.text(cell.defence)
        self.settings = blueprint.suite.evaluation

    # what acts where

    def _attacks(self, *acts: Act) -> bool:
        return bool(self.attack_acts & set(acts))

    def _defends(self, *acts: Act) -> bool:
        return bool(self.defence_acts & set(acts))

    @property
    def poisons(self) -> bool:
        return self._attacks(Act.POISON)

    @property
    def trials(self) -> int:
        targeted = self.poisons and self.cell.threat.goal == Goal.TARGETED
        return self.settings.trials if targeted else 1

    @property
    def _where(self) -> str:
        return f"{self.data_name}, r{self.cell.repetition}"

    def _seed(self, purpose: str, *depends: str | int) -> int:
        return self.blueprint.seed(purpose, self.data_name, *depends, self.cell.repetition)

    def _sampling(self) -> dict[str, Any]:
        return {"samples": self.settings.samples, "sample_seed": self._seed("sample")}

    # data and training

    def load(self, dataset: Selection) -> Stage:
        splits = self.blueprint.suite.splits
        return self.blueprint.add(
            StageName.LOAD,
            f"load {dataset}",
            plugins={"dataset": self.blueprint.plugged(Kind.DATASET, dataset)},
            seed=self.blueprint.seed("load", self.blueprint.text(dataset)),
            settings={"attacker_val": splits.attacker_val, "defender_clean": splits.defender_clean},
        )

    @cached_property
    def data(self) -> Stage:
        return self.load(self.cell.dataset)

    def pretrain(self) -> Stage | None:
        if Act.PRETRAIN not in self.victim_spec.acts or self.victim_spec.external is None:
            return None
        external: Selection = getattr(self.cell.victim.params, self.victim_spec.external)
        plugins = {"victim": self.victim}
        if self._defends(Act.REINFORCE):
            plugins["reinforcer"] = self.defence
        return self.blueprint.add(
            StageName.PRETRAIN,
            f"pretrain {self.victim_name} on {external}, r{self.cell.repetition}",
            inputs={"data": self.load(external)},
            plugins=plugins,
            seed=self.blueprint.seed("pretrain", str(external), self.victim_name, self.cell.repetition),
        )

    def surrogates(self) -> dict[str, Stage]:
        """Fits of other repetitions, clean and undefended, by role."""
        other = self.cell.repetition ^ 1  # 0 and 1, 2 and 3: more repetitions leave the pairs as they are
        stages = {}
        for name in self.attack_spec.surrogates:
            stages[f"surrogate.{name}"] = self._clean_fit(getattr(self.cell.attack.params, name), other)
        return stages

    def _clean_fit(self, victim: Selection, repetition: int) -> Stage:
        cell = replace(self.cell, victim=victim, threat=ThreatModel(), repetition=repetition)
        return CellStages(self.blueprint, cell, _NO_ACTS, _NO_ACTS).fit(0)

    def _attack_plugins(self) -> dict[str, Plugged]:
        """The attack, the attacks it builds on, and the victims of its surrogates."""
        plugins = {"attack": self.attack}
        for name in self.attack_spec.plugins:
            plugins[f"attack.{name}"] = self.blueprint.plugged(Kind.ATTACK, getattr(self.cell.attack.params, name))
        for name in self.attack_spec.surrogates:
            plugins[f"surrogate.{name}"] = self.blueprint.plugged(Kind.VICTIM, getattr(self.cell.attack.params, name))
        return plugins

    def poison(self) -> Stage | None:
        if not self.poisons:
            return None
        inputs = {"data": self.data, **self.surrogates()}
        plugins = self._attack_plugins()
        features = self.pretrain() if Access.FEATURES in self.attack_spec.needs else None
        if features is not None:
            inputs["features"] = features
            plugins["victim"] = self.victim
        return self.blueprint.add(
            StageName.POISON,
            f"poison {self.cell.attack_label} on {self._where}",
            inputs=inputs,
            plugins=plugins,
            threat=self.cell.threat,
            seed=self._seed("poison", self.cell.attack.name),
            settings={"trials": self.trials, "target_seed": self._seed("target")},
        )

    def sanitise(self, trial: int) -> Stage | None:
        if not self._defends(Act.SANITISE):
            return None
        inputs = {"data": self.data} | _present(poison=self.poison())
        return self.blueprint.add(
            StageName.SANITISE,
            f"sanitise {self.defence_name} against {self.cell.attack_label} on {self._where}",
            inputs=inputs,
            plugins={"defence": self.defence},
            seed=self._seed("sanitise", self.cell.defence.name),
            settings={"trial": trial},
        )

    def fit(self, trial: int) -> Stage:
        inputs = {"data": self.data} | _present(
            poison=self.poison(), sanitise=self.sanitise(trial), features=self.pretrain()
        )
        plugins = {"victim": self.victim}
        if self._defends(Act.REINFORCE) and "features" not in inputs:
            plugins["reinforcer"] = self.defence
        if self._defends(Act.OWN_FIT):
            plugins["trainer"] = self.defence
        corrupts = self._attacks(Act.CORRUPT)
        if corrupts:
            plugins["attack"] = self.attack
        return self.blueprint.add(
            StageName.FIT,
            f"fit {self.victim_name} on {self._where}",
            inputs=inputs,
            plugins=plugins,
            threat=self.cell.threat if corrupts else None,
            seed=self._seed("fit", self.victim_name),
            settings={"trial": trial} if self.trials > 1 else {},
        )

    def inspect(self, trial: int) -> Stage | None:
        if not self._defends(Act.INSPECT):
            return None
        return self.blueprint.add(
            StageName.INSPECT,
            f"inspect {self.victim_name} by {self.defence_name} on {self._where}",
            inputs={"data": self.data, "model": self.fit(trial)},
            plugins=self._model_plugins() | {"defence": self.defence},
            seed=self._seed("inspect", self.cell.defence.name),
        )

    def model(self, trial: int) -> Stage:
        """The fitted and, where the defence repairs, repaired model."""
        if not self._defends(Act.REPAIR):
            return self.fit(trial)
        return self.blueprint.add(
            StageName.REPAIR,
            f"repair {self.victim_name} by {self.defence_name} on {self._where}",
            inputs={"data": self.data, "model": self.fit(trial)} | _present(finding=self.inspect(trial)),
            plugins=self._model_plugins() | {"defence": self.defence},
            seed=self._seed("repair", self.cell.defence.name),
        )

    def _model_plugins(self) -> dict[str, Plugged]:
        """What it takes to make the model again from its arrays."""
        return {"victim": self.victim} | ({"trainer": self.defence} if self._defends(Act.OWN_FIT) else {})

    def _guarded_plugins(self) -> dict[str, Plugged]:
        return self._model_plugins() | ({"guard": self.defence} if self._defends(Act.GUARD) else {})

    # inputs that the model is evaluated on

    def perturb(self) -> Stage | None:
        if not self._attacks(Act.PERTURB):
            return None
        inputs = {"data": self.data, **self.surrogates()}
        plugins, threat = self._attack_plugins(), self.cell.threat
        if not threat.adaptive:  # who does not know of a guard does the same where there is none
            threat = replace(threat, adaptive=None)
        if self.attack_spec.needs & MODEL_ACCESS:
            inputs["model"] = self.model(0)
            plugins |= self._guarded_plugins() if threat.adaptive else self._model_plugins()
        return self.blueprint.add(
            StageName.PERTURB,
            f"perturb {self.cell.attack_label} against {self.victim_name} on {self._where}",
            inputs=inputs,
            plugins=plugins,
            threat=threat,
            seed=self._seed("perturb", self.cell.attack.name),
            settings=self._sampling() | {"expectation": self.settings.expectation},
        )

    def trigger(self) -> Stage | None:
        if not self._attacks(Act.TRIGGER):
            return None
        return self.blueprint.add(
            StageName.TRIGGER,
            f"trigger {self.cell.attack_label} on {self._where}",
            inputs={"data": self.data} | _present(poison=self.poison()),
            plugins={"attack": self.attack},
            threat=self.cell.threat,
            seed=self._seed("trigger", self.cell.attack.name),
            settings=self._sampling(),
        )

    def probe(self) -> Stage | None:
        if not self._attacks(Act.PROBES):
            return None
        return self.blueprint.add(
            StageName.PROBE,
            f"probe {self.cell.attack_label} on {self._where}",
            inputs={"data": self.data} | _present(poison=self.poison()),
            plugins={"attack": self.attack},
            threat=self.cell.threat,
            seed=self._seed("probe", self.cell.attack.name),
            settings=self._sampling(),
        )

    # answers

    def predict(self, of: str, model: Stage, source: Stage, *, guarded: bool = True, trial: int = 0) -> Stage:
        """Predictions of `model` on inputs of `source`; `of` says which: test, train, attacked, target or probes."""
        inputs = {"data": self.data, "model": model, "source": source}
        if of == "train":
            inputs |= _present(poison=self.poison(), sanitise=self.sanitise(trial))
        return self.blueprint.add(
            StageName.PREDICT,
            f"predict {of} by {self.victim_name} on {self._where}",
            inputs=inputs,
            plugins=self._guarded_plugins() if guarded else self._model_plugins(),
            seed=self._seed("predict", of),
            settings={"of": of} | ({"trial": trial} if of in ("target", "train") and self.trials > 1 else {}),
        )

    def project(self) -> Stage | None:
        """Where training and test images lie in the victim's last hidden layer."""
        owned = self._defends(Act.OWN_FIT) or Access.FEATURES not in self.victim_spec.offers
        if Kept.PROJECTION not in self.settings.keep or owned or not self.poisons:
            return None
        inputs = {"data": self.data, "model": self.model(0)} | _present(poison=self.poison(), sanitise=self.sanitise(0))
        return self.blueprint.add(
            StageName.PROJECT,
            f"project {self.victim_name} on {self._where}",
            inputs=inputs,
            plugins=self._model_plugins(),
            seed=self._seed("project"),
        )

    def _kept(self) -> dict[str, Stage]:
        """The stages that files kept beside the numbers are made from."""
        if not self.poisons:
            return {}
        fit = self.fit(0) if Kept.CURVES in self.settings.keep else None
        return _present(fit=fit, projection=self.project())

    def detect(self, attacked: Stage | None) -> Stage | None:
        if not self._defends(Act.DETECT):
            return None
        return self.blueprint.add(
            StageName.DETECT,
            f"detect by {self.defence_name} on {self._where}",
            inputs={"data": self.data, "model": self.model(0)} | _present(source=attacked),
            plugins=self._guarded_plugins() | {"defence": self.defence},
            seed=self._seed("detect", self.cell.defence.name),
            settings={"false_positive_rate": self.settings.false_positive_rate},
        )

    def certify(self) -> Stage | None:
        if not self._defends(Act.CERTIFY):
            return None
        return self.blueprint.add(
            StageName.CERTIFY,
            f"certify by {self.defence_name} on {self._where}",
            inputs={"data": self.data, "model": self.model(0)},
            plugins=self._guarded_plugins() | {"defence": self.defence},
            seed=self._seed("certify", self.cell.defence.name),
            settings=self._sampling(),
        )

    def _twin(self) -> Stage | None:
        """Answers of the paired model whose training was not attacked."""
        if not self._attacks(Act.POISON, Act.CORRUPT):
            return None
        clean = replace(self.cell, threat=ThreatModel())
        twin = CellStages(self.blueprint, clean, _NO_ACTS, self.defence_acts)
        return twin.predict("test", twin.model(0), twin.data)

    def measure(self) -> Stage:
        attacked = self.perturb() or self.trigger()
        model = self.model(0)
        inputs = {"data": self.data, "clean": self.predict("test", model, self.data)} | _present(
            attack=attacked,
            attacked=self.predict("attacked", model, attacked) if attacked else None,
            twin=self._twin(),
            poison=self.poison(),
            sanitise=self.sanitise(0),
            finding=self.inspect(0),
            detect=self.detect(attacked),
            certify=self.certify(),
            probe=self.probe(),
            train=self.predict("train", model, self.data, guarded=False),
        )
        if (probe := self.probe()) is not None:
            inputs["probed"] = self.predict("probes", model, probe)
        if self._defends(Act.REPAIR):
            inputs["before"] = self.predict("test", self.fit(0), self.data)
            if attacked:
                inputs["before_attacked"] = self.predict("attacked", self.fit(0), attacked)
        if self.poisons and self.cell.threat.goal == Goal.TARGETED:
            inputs |= self._target_answers()
        inputs |= self._kept()
        plugins = {"attack": self.attack, "victim": self.victim, "defence": self.defence, **self.blueprint.metrics}
        return self.blueprint.add(
            StageName.MEASURE,
            f"measure {self.cell.id}",
            inputs=inputs,
            plugins=plugins,
            threat=self.cell.threat,
            settings=(self._sampling() if attacked or self._defends(Act.CERTIFY) else {}) | self._keeping(),
        )

    def _keeping(self) -> dict[str, Any]:
        kept = sorted(kind.value for kind in self.settings.keep)
        return {"keep": kept} if kept and self.poisons else {}

    def _target_answers(self) -> dict[str, Stage]:
        poison = self.poison()
        answers = {}
        for trial in range(self.trials):
            if poison is not None:
                answers[f"target.{trial}"] = self.predict("target", self.model(trial), poison, trial=trial)
                answers[f"clean.{trial}"] = self.predict("test", self.model(trial), self.data)
        return answers


def _present(**stages: Stage | None) -> dict[str, Stage]:
    return {role: stage for role, stage in stages.items() if stage is not None}
