"""Cells to stages: what each cell needs, with the keys of DESIGN's chain. Imports no torch; computes nothing.

A stage's key holds only what the stage depends on, so equal work of different cells is one stage. Which stages a cell
needs, and what each is given, is in `sparring.cell_stages`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sparring.cell import Cell, Selection
from sparring.cell_stages import CellStages
from sparring.keys import digest_of
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
        self._codes: dict[Definition, str] = {}
        self._plugged: dict[tuple[Kind, Selection], Plugged] = {}
        self._identities: dict[int, str] = {}
        self._texts: dict[Selection, str] = {}
        self._seeds: dict[tuple[str | int, ...], int] = {}
        self._made: dict[Hashable, Stage] = {}
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
        """The stage with these dependencies; made once.

        Most cells ask for stages that others have asked for: those are found by what they are made of, without its
        digest.
        """
        inputs, plugins, settings = inputs or {}, plugins or {}, settings or {}
        keys = {role: stage.key for role, stage in inputs.items()}
        roles = (*keys, "", *plugins, "", *settings)
        made_of = (name, threat, seed, roles, *keys.values(), *map(id, plugins.values()), *map(str, settings.values()))
        if (found := self._made.get(made_of)) is not None:
            return found
        content = {
            "stage": name,
            "code": self._code(Definition("sparring.stages", name.value)),
            "inputs": keys,
            "plugins": {role: self._identities[id(plugged)] for role, plugged in plugins.items()},
            "threat": threat.stated() if threat else {},
            "seed": seed,
            "settings": settings,
            "versions": self._versions,
        }
        key = digest_of(content)
        stage = Stage(
            key=key,
            name=name,
            label=label,
            inputs=keys,
            plugins=dict(plugins),
            threat=threat,
            seed=seed,
            settings=dict(settings),
        )
        self._made[made_of] = self.stages.setdefault(key, stage)
        return self._made[made_of]

    def plugged(self, kind: Kind, selection: Selection) -> Plugged:
        """A plugin in its role: one object for equal ones. `add` takes only these."""
        if (found := self._plugged.get((kind, selection))) is None:
            found = self._plugged[kind, selection] = Plugged(kind, selection)
            self._identities[id(found)] = self._identity(found)
        return found

    def text(self, selection: Selection) -> str:
        """`selection` as a selector."""
        if (found := self._texts.get(selection)) is None:
            found = self._texts[selection] = str(selection)
        return found

    def seed(self, purpose: str, *depends: str | int) -> int:
        """See `sparring.seeds.derive`."""
        if (found := self._seeds.get((purpose, *depends))) is None:
            found = self._seeds[purpose, *depends] = derive(self.suite.seed, purpose, *depends)
        return found

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
        return {f"metric.{n}": self.plugged(Kind.METRIC, self.catalogue.default(Kind.METRIC, n)) for n in names}

    def _identity(self, plugged: Plugged) -> str:
        """A digest of what a plugin is: its name, revision, code and parameters."""
        spec = self.catalogue.entry(plugged.kind, plugged.selection.name).spec
        code = self._code(plugin_root(spec.load))
        return digest_of([plugged.kind, spec.name, spec.revision, code, plugged.selection.params])

    def _code(self, root: Definition) -> str:
        if root not in self._codes:
            self._codes[root] = code_digest(root)
        return self._codes[root]
