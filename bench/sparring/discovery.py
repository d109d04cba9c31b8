"""Entry points of the group `sparring`, loaded one by one, so that a broken one stops nothing."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any

import pluggy

from sparring import hookspecs
from sparring.declarations import faults
from sparring.errors import near_miss
from sparring.plugin import Kind, Spec

VARIABLE = "SPARRING_PLUGINS"
HOOK_OF_KIND = {
    Kind.DATASET: "sparring_datasets",
    Kind.VICTIM: "sparring_victims",
    Kind.ATTACK: "sparring_attacks",
    Kind.DEFENCE: "sparring_defences",
    Kind.METRIC: "sparring_metrics",
}
_HOOKS = frozenset(name for name in vars(hookspecs) if name.startswith("sparring_"))


@dataclass(frozen=True)
class Problem:
    """What is wrong with one installed plugin."""

    distribution: str
    version: str
    entry_point: str
    message: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.distribution, self.version, f"({self.entry_point}): {self.message}")))


@dataclass(frozen=True, eq=False)
class Joined:
    """One entry point that loaded. Its hooks are called apart from everybody else's."""

    distribution: str
    version: str
    entry_point: str
    manager: pluggy.PluginManager

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.entry_point})"

    def implements(self, hook: str) -> bool:
        caller: pluggy.HookCaller = getattr(self.manager.hook, hook)
        return bool(caller.get_hookimpls())

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """What the implementations of a hook return; `None` is left out. Raises whatever they raise."""
        caller: pluggy.HookCaller = getattr(self.manager.hook, hook)
        answers: list[Any] = caller(**arguments)
        return answers

    def declarations(self) -> tuple[list[Spec], list[Problem]]:
        """The legal declarations of all its hooks, and what is wrong with the others."""
        specs: list[Spec] = []
        messages: list[str] = []
        for kind, hook in HOOK_OF_KIND.items():
            try:
                returned = [spec for answer in self.call(hook) for spec in answer]
            except (Exception, SystemExit) as error:  # a plugin's own code: anything may come
                messages.append(f"{hook} failed: {one_line(error)}")
                continue
            for spec in returned:
                found = faults(spec, kind)
                messages += found
                if not found:
                    specs.append(spec)
        return specs, [self.problem(message) for message in messages]

    def problem(self, message: str) -> Problem:
        return Problem(self.distribution, self.version, self.entry_point, message)

    def has_extra(self, extra: str) -> bool:
        """Whether everything that the distribution requires for `extra` is installed."""
        from packaging.requirements import Requirement

        requirements = [Requirement(line) for line in distribution(self.distribution).requires or []]
        return all(
            _installed(r.name)
            for r in requirements
            if r.marker is not None and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
        )


def join() -> tuple[list[Joined], list[Problem]]:
    """All entry points that load, and the problems of those that do not, ordered by distribution and name."""
    joined: list[Joined] = []
    problems: list[Problem] = []
    allowed = allow_list()
    seen: set[str] = set()
    known: set[str] = set()
    for point in sorted(entry_points(group=hookspecs.PROJECT), key=lambda p: (_normal(_owner(p)[0]), p.name)):
        names = {_normal(_owner(point)[0]), _normal(point.name)}
        known |= names
        if allowed is not None and not names & allowed:
            continue
        seen |= names
        source, found = _load(point)
        problems += found
        if source is not None:
            joined.append(source)
    for name in sorted((allowed or frozenset()) - seen):
        message = f"{VARIABLE} names {name!r}, which is not installed{near_miss(name, known)}"
        problems.append(Problem(name, "", VARIABLE, message))
    return joined, problems


def _load(point: EntryPoint) -> tuple[Joined | None, list[Problem]]:
    name, version = _owner(point)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    source = Joined(name, version, point.name, manager)
    try:
        plugin = point.load()
        manager.register(plugin, name=f"{name}:{point.name}")
        misnamed = list(_misnamed(plugin))
    except pluggy.PluginValidationError as error:
        return None, [source.problem(" ".join(str(error).split()))]
    except (Exception, SystemExit) as error:  # a plugin's own code: anything may come
        return None, [source.problem(f"cannot be imported: {one_line(error)}")]
    problems = [source.problem(message) for message in misnamed]
    if not problems and not any(source.implements(hook) for hook in _HOOKS):
        problems.append(source.problem(f"{point.value} implements no hook of sparring"))
    return source, problems


def _misnamed(plugin: object) -> Iterator[str]:
    """Hooks that would be passed over in silence: without the marker, or with a name that nobody calls."""
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        marked = hasattr(function, f"{hookspecs.PROJECT}_impl")
        if marked and name not in _HOOKS:
            yield f"there is no hook {name!r}{near_miss(name, _HOOKS)}"
        elif name in _HOOKS and not marked:
            yield f"{name} is not marked with @hookimpl, so it is never called"


def allow_list() -> frozenset[str] | None:
    """The distributions and entry points that SPARRING_PLUGINS names; `None`: it is not set, and all are loaded."""
    listed = os.environ.get(VARIABLE)
    return None if listed is None else frozenset(_normal(part) for part in listed.split(",") if part.strip())


def _normal(name: str) -> str:
    """A distribution's name as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _owner(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else ("unknown", "")


def one_line(error: BaseException) -> str:
    """ "RuntimeError: what went wrong", without further lines."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
