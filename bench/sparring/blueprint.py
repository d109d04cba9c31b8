"""Cells to stages: what each cell needs, with the keys of DESIGN's chain. Imports no torch; computes nothing.

A stage's key holds only what the stage depends on, so equal work of different cells is one stage. Which stages a cell
needs, and what each is given, is in `sparring.cell_stages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sparring.cell import Cell
from sparring.cell_stages import CellStages
from sparring.keys import digest_of, plain
from sparring.plugin import Kind
from sparring.seeds import derive
from sparring.source_digest import Definition, code_digest, plugin_root, short_digest
from sparring.stage import Plugged, Stage, StageName
from sparring.threat import ThreatModel

if TYPE_CHECKING:
    from sparring.catalogue import Catalogue
    from sparring.suite import Suite


class Blueprint:
    """The stages of a suite's cells.

    Args:
        suite: seeds, splits and evaluation settings.
        catalogue: where plugin declarations come from.
        versions: library versions that become part of every key (`--strict`); empty: provenance only.

    Attributes:
        suite, catalogue: as given.
        stages: every stage asked for so far, by key.
    """

    def __init__(self, suite: Suite, catalogue: Catalogue, versions: Mapping[str, str] | None = None) -> None:
        self.suite = suite
        self.catalogue = catalogue
        self._versions = dict(versions or {})
        self._codes: dict[str, str] = {}
        self._identities: dict[Plugged, str] = {}
        self.stages: dict[str, Stage] = {}

    def goal(self, cell: Cell) -> Stage:
        """The last stage of `cell`, with everything it depends on added to `stages`."""
        return CellStages(self, cell).measure()

    def chain(self, goal: Stage) -> list[Stage]:
        """The stages that `goal` depends on and itself, each once, inputs first."""
        seen: dict[str, Stage] = {}

        def visit(stage: Stage) -> None:
            if stage.key not in seen:
                for key in stage.inputs.values():
                    visit(self.stages[key])
                seen[stage.key] = stage

        visit(goal)
        return list(seen.values())

    def add(
        self,
        name: StageName,
        label: str,
        *,
        inputs: Mapping[str, Stage] | None = None,
        plugins: Mapping[str, Plugged] | None = None,
        threat: ThreatModel | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> Stage:
        """The stage with these dependencies; made once."""
        plugins = dict(plugins or {})
        keys = {role: stage.key for role, stage in (inputs or {}).items()}
        content = {
            "stage": name,
            "code": self._stage_code(name),
            "inputs": keys,
            "plugins": {role: self._identity(plugged) for role, plugged in plugins.items()},
            "threat": threat.stated() if threat else {},
            "seed": seed,
            "settings": dict(settings or {}),
            "versions": self._versions,
        }
        key = digest_of(content)
        if key not in self.stages:
            self.stages[key] = Stage(
                key=key,
                name=name,
                label=label,
                inputs=keys,
                plugins=plugins,
                threat=threat,
                seed=seed,
                settings=dict(settings or {}),
            )
        return self.stages[key]

    def seed(self, purpose: str, *depends: str | int) -> int:
        return derive(self.suite.seed, purpose, *depends)

    def source(self, kind: Kind, name: str) -> str | None:
        """The digest of a plugin's code that is part of its keys, shortened; `None` where its source cannot be read."""
        try:
            return short_digest(self._code(plugin_root(self.catalogue.entry(kind, name).spec.load)))
        except OSError:
            return None

    @cached_property
    def metrics(self) -> dict[str, Plugged]:
        """The metrics that the suite asks for, or all of the catalogue that need not be asked for."""
        names = self.suite.metrics or self.catalogue.default_metrics()
        return {f"metric.{n}": Plugged(Kind.METRIC, self.catalogue.default(Kind.METRIC, n)) for n in names}

    def _stage_code(self, name: StageName) -> str:
        return self._code(Definition("sparring.stages", name.value))

    def _identity(self, plugged: Plugged) -> str:
        """A digest of what a plugin is: its name, revision, code and parameters."""
        if plugged not in self._identities:
            spec = self.catalogue.entry(plugged.kind, plugged.selection.name).spec
            code = self._code(plugin_root(spec.load))
            content = [plugged.kind, spec.name, spec.revision, code, plain(plugged.selection.params)]
            self._identities[plugged] = digest_of(content)
        return self._identities[plugged]

    def _code(self, root: Definition) -> str:
        name = f"{root.module}:{root.name}"
        if name not in self._codes:
            self._codes[name] = code_digest(root)
        return self._codes[name]
