"""Every plugin that is installed, by kind and name. A broken one becomes a named problem, and the rest go on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sparring.cell import Cell, Selection
from sparring.discovery import Joined, Problem, join, one_line
from sparring.errors import BadInput, NotInstalled, inside, near_miss
from sparring.params import Resolve, sweep
from sparring.plugin import AttackSpec, DatasetSpec, DefenceSpec, Kind, MetricSpec, PluginSpec, Spec, VictimSpec
from sparring.selector import parse
from sparring.threat import ALIASES, ThreatModel
from sparring.threat_params import lift, readable, threat_models

if TYPE_CHECKING:
    from sparring.record import Outcome

S = TypeVar("S", bound=PluginSpec)
log = logging.getLogger("sparring")

VICTIM_OF_THE_CELL = "victim"
"""The reference that stands for the victim of the cell itself."""


@dataclass(frozen=True)
class Entry:
    """A plugin, and where it comes from."""

    spec: Spec
    distribution: str
    version: str
    entry_point: str


class Catalogue:
    """What `discover` found.

    Args:
        joined: the entry points that loaded.
        problems: what is wrong with the others.
    """

    def __init__(self, joined: Iterable[Joined], problems: Iterable[Problem]) -> None:
        self._joined = tuple(joined)
        self._problems = list(problems)
        self._found: dict[tuple[Kind, str], list[Entry]] = {}
        for source in self._joined:
            specs, faulty = source.declarations()
            self._problems += faulty
            for spec in specs:
                entry = Entry(spec, source.distribution, source.version, source.entry_point)
                self._found.setdefault((spec.kind, spec.name), []).append(entry)
        for (kind, name), entries in self._found.items():
            if len(entries) > 1:
                last = entries[-1]
                message = _claimed_twice(kind, name, entries)
                self._problems.append(Problem(last.distribution, last.version, last.entry_point, message))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with installed plugins, one entry each."""
        return tuple(self._problems)

    def specs(self, kind: Kind) -> Mapping[str, Spec]:
        """All usable plugins of a kind, by name, sorted."""
        return {entry.spec.name: entry.spec for entry in self.entries(kind)}

    def names(self, kind: Kind) -> list[str]:
        """All names of a kind, sorted, also those that two distributions claim."""
        return sorted(name for found, name in self._found if found is kind)

    def entries(self, kind: Kind) -> list[Entry]:
        """All usable plugins of a kind with their origin, sorted by name."""
        claims = [self._found[kind, name] for name in self.names(kind)]
        return [entries[0] for entries in claims if len(entries) == 1]

    def entry(self, kind: Kind, name: str) -> Entry:
        """One plugin with its origin.

        Raises:
            NotInstalled: there is none of that name.
            BadInput: two distributions claim it.
        """
        entries = self._found.get((kind, name), [])
        if len(entries) > 1:
            raise BadInput(_claimed_twice(kind, name, entries))
        if entries:
            return entries[0]
        broken = f" ({len(self._problems)} plugin problems; see 'sparring list')" if self._problems else ""
        raise NotInstalled(f"there is no {kind} {name!r}{near_miss(name, self.specs(kind))}{broken}")

    def dataset(self, name: str) -> DatasetSpec:
        return self._declared(DatasetSpec, Kind.DATASET, name)

    def victim(self, name: str) -> VictimSpec:
        return self._declared(VictimSpec, Kind.VICTIM, name)

    def attack(self, name: str) -> AttackSpec:
        return self._declared(AttackSpec, Kind.ATTACK, name)

    def defence(self, name: str) -> DefenceSpec:
        return self._declared(DefenceSpec, Kind.DEFENCE, name)

    def metric(self, name: str) -> MetricSpec:
        return self._declared(MetricSpec, Kind.METRIC, name)

    def default_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that boards have whose suite names none, sorted."""
        return tuple(name for name in self.specs(Kind.METRIC) if self.metric(name).by_default)

    def _declared(self, spec_type: type[S], kind: Kind, name: str) -> S:
        spec = self.entry(kind, name).spec
        assert isinstance(spec, spec_type)  # discovery lets no other type in
        return spec

    def resolve(self, kind: Kind, raw: Any, folder: Path = Path()) -> tuple[Selection, ...]:
        """The selections that a selector stands for; several where it sweeps a parameter.

        Args:
            raw: 'pgd[steps=[10,20]]', `{"pgd": {"steps": [10, 20]}}`, or a `Selection`.
            folder: what paths of stored files are relative to.

        Raises:
            BadInput: unknown plugin or parameter, wrong type, out of range, or an optional dependency is missing.
        """
        if isinstance(raw, Selection) and raw.params is not None:
            return (raw,)
        name, settings = _name_and_settings(kind, raw)
        spec = self._usable(kind, name)
        with inside(name) if isinstance(raw, Mapping) else inside():
            if isinstance(spec, AttackSpec) and (lifted := lift(spec, settings)[1]):
                field = next(iter(lifted))
                sentence = f"{name}: {field} belongs to the threat model; state it beside the outermost attack"
                raise BadInput(sentence, trail=(field,))
            found = sweep(spec.params, settings, name, self._references_in(folder), folder=folder)
            return tuple(Selection(name, params) for params in found)

    def resolve_attack(self, raw: Any, folder: Path = Path()) -> tuple[tuple[Selection, ThreatModel], ...]:
        """As `resolve`, with the threat fields that stand beside the attack's own parameters lifted out.

        Raises:
            BadInput: as `resolve`; a threat field is set twice, or the attack does not read it.
        """
        name, settings = _name_and_settings(Kind.ATTACK, raw)
        spec = self.attack(self._usable(Kind.ATTACK, name).name)
        with inside(name) if isinstance(raw, Mapping) else inside():
            own, lifted = lift(spec, settings)
            short = [alias for alias, field in ALIASES.items() if field in readable(spec)]
            threats = threat_models(lifted, name)
            known = [*readable(spec), *short]
            params = sweep(spec.params, own, name, self._references_in(folder), also_known=known, folder=folder)
        return tuple((Selection(name, one), threat) for threat in threats for one in params)

    def default(self, kind: Kind, name: str) -> Selection:
        """A plugin with its default parameters. Raises `BadInput` as `resolve`."""
        return self.resolve(kind, name)[0]

    def load(self, kind: Kind, selection: Selection) -> Any:
        """The working plugin; here, and only here, its heavy imports happen."""
        spec = self._usable(kind, selection.name)
        resolved = selection if selection.params is not None else self.default(kind, selection.name)
        return spec.load(resolved.params)

    def _usable(self, kind: Kind, name: str) -> Spec:
        entry = self.entry(kind, name)
        if entry.spec.extra is not None and not self._by_name[entry.distribution].has_extra(entry.spec.extra):
            wanted = f"{entry.distribution}[{entry.spec.extra}]"
            raise NotInstalled(f"{name} needs packages that are not installed; pip install '{wanted}'")
        return entry.spec

    @cached_property
    def _by_name(self) -> Mapping[str, Joined]:
        return {source.distribution: source for source in self._joined}

    def _references_in(self, folder: Path) -> Resolve:
        def resolve(kind: Kind, raw: Any) -> tuple[Selection, ...]:
            if kind is Kind.VICTIM and raw == VICTIM_OF_THE_CELL:
                return (Selection(VICTIM_OF_THE_CELL),)
            return self.resolve(kind, raw, folder)

        return resolve

    def objections(self, cell: Cell) -> list[str]:
        """Cited reasons of all plugins why `cell` makes no sense. A hook that raises is logged and has none."""
        found: list[str] = []
        for source in self._objectors:
            try:
                found += [str(reason) for answer in source.call("sparring_objections", cell=cell) for reason in answer]
            except (Exception, SystemExit) as error:  # a plugin's own code: anything may come
                log.warning("%s: sparring_objections failed for %s (%s)", source, cell.id, one_line(error))
        return found

    def cell_finished(self, cell: Cell, outcome: Outcome) -> None:
        """Tell all plugins. A hook that raises is logged, and changes nothing."""
        for source in self._listeners:
            try:
                source.call("sparring_cell_finished", cell=cell, outcome=outcome)
            except (Exception, SystemExit) as error:  # a plugin's own code: anything may come
                log.warning("%s: sparring_cell_finished failed for %s (%s)", source, cell.id, one_line(error))

    @cached_property
    def _objectors(self) -> list[Joined]:
        return [source for source in self._joined if source.implements("sparring_objections")]

    @cached_property
    def _listeners(self) -> list[Joined]:
        return [source for source in self._joined if source.implements("sparring_cell_finished")]


def discover() -> Catalogue:
    """Load every entry point of the group `sparring`, each on its own.

    The variable SPARRING_PLUGINS, a comma-separated list of distributions or entry points, leaves all others out.
    """
    return Catalogue(*join())


def _name_and_settings(kind: Kind, raw: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(raw, Selection):
        return raw.name, {}
    if isinstance(raw, str):
        return parse(raw)
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((name, settings),) = raw.items()
        if isinstance(name, str) and (settings is None or isinstance(settings, Mapping)):
            return name, settings or {}
    example = "'name', 'name[param=value]' or 'name: {param: value}'"
    raise BadInput(f"expected a {kind} as {example}, not {raw!r}")


def _claimed_twice(kind: Kind, name: str, entries: list[Entry]) -> str:
    owners = " and ".join(f"{e.distribution} {e.version} ({e.entry_point})" for e in entries)
    return f"two plugins are called {kind} {name!r}: {owners}; uninstall one, or set SPARRING_PLUGINS"
