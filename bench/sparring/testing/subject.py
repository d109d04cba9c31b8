"""A plugin under test: what it declares, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from sparring.catalogue import Catalogue, Entry
from sparring.cell import Selection
from sparring.errors import BadInput, near_miss
from sparring.plugin import Kind, PluginSpec
from sparring.threat import ThreatModel


@dataclass(eq=False)
class Subject:
    """One plugin with the parameters it is tried with.

    Attributes:
        catalogue: it was found in; also the source of the plugins that it refers to.
        entry: its declaration and origin.
        selection: its name and parameters.
        threat: threat fields that were stated beside the parameters of an attack.
    """

    catalogue: Catalogue
    entry: Entry
    selection: Selection
    threat: ThreatModel = field(default_factory=ThreatModel)

    @classmethod
    def of(cls, catalogue: Catalogue, selector: str) -> Self:
        """The plugin that a selector names: "pgd", "pgd[steps=5]", or "defence/none" where two kinds share a name.

        Raises:
            BadInput: there is no such plugin, or it cannot be used.
        """
        kind, rest = _kind_of(catalogue, selector)
        if kind is Kind.ATTACK:
            selection, threat = catalogue.resolve_attack(rest)[0]
            return cls(catalogue, catalogue.entry(kind, selection.name), selection, threat)
        selection = catalogue.resolve(kind, rest)[0]
        return cls(catalogue, catalogue.entry(kind, selection.name), selection)

    @property
    def kind(self) -> Kind:
        return self.entry.spec.kind

    @property
    def spec(self) -> PluginSpec:
        return self.entry.spec

    @property
    def name(self) -> str:
        """For test ids: the selector, with its kind where another kind has a plugin of that name."""
        shared = sum(self.selection.name in self.catalogue.names(kind) for kind in Kind) > 1
        return f"{self.kind}/{self.selection}" if shared else str(self.selection)

    def __str__(self) -> str:
        return f"{self.kind} {self.selection}"

    def declares(self, kind: Kind) -> Any:
        """The declaration, where it is of that kind; else `None`."""
        return self.spec if self.kind is kind else None

    def load(self) -> Any:
        """The working plugin, new."""
        return self.spec.load(self.selection.params)


def _kind_of(catalogue: Catalogue, selector: str) -> tuple[Kind, str]:
    kind, slash, rest = selector.partition("/")
    if slash and kind in set(Kind):
        return Kind(kind), rest
    name = selector.partition("[")[0]
    having = [kind for kind in Kind if name in catalogue.names(kind)]
    if not having:
        known = {known for kind in Kind for known in catalogue.names(kind)}
        broken = f" ({len(catalogue.problems)} plugin problems; see 'sparring list')" if catalogue.problems else ""
        raise BadInput(f"there is no plugin {name!r}{near_miss(name, known)}{broken}")
    if len(having) > 1:
        choice = " or ".join(f"{kind}/{selector}" for kind in having)
        raise BadInput(f"{' and '.join(having)} {name!r} share the name; write {choice}")
    return having[0], selector
