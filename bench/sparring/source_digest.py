"""A digest of the code that a plugin or a stage runs: without comments, docstrings, annotations and formatting.

The closure is found by reading, not by importing. From a definition it follows the names it uses (those of its
arguments' types included) to other definitions of the same module, and imports to modules of the same top-level
package or of the core. In the core it goes
definition by definition, so that an edit of one function reruns only what calls it; of a plugin's package it takes
each module it reaches whole. Third-party libraries are provenance, not key.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

CORE = "sparring"

DECLARATIVE = frozenset({"sparring.plugin", "sparring.hookspecs"})
"""Core modules that say what a plugin is and compute nothing; what they say reaches a key through params and names."""

WHOLE = "*"


@dataclass(frozen=True, order=True)
class Definition:
    """A top-level name of a module; `WHOLE` for all of it."""

    module: str
    name: str


def code_digest(*roots: Any) -> str:
    """64 hexadecimal digits for everything that `roots` (functions, classes, `Definition`s) may run.

    Raises:
        OSError: a source file cannot be read.
    """
    starts = [_root(root) for root in roots]
    reached = sorted(_closure(starts))
    digest = hashlib.sha256()
    for definition in reached:
        digest.update(f"{definition.module}:{definition.name}\n{_canonical_definition(definition)}\n".encode())
    return digest.hexdigest()


def plugin_root(load: Callable[[Any], Any]) -> Definition:
    """Where the code of a plugin begins: all of the module in which its spec's `load` is written."""
    while isinstance(load, partial):  # would name `functools`, and no edit of the plugin would be seen
        load = load.func
    return Definition(load.__module__, WHOLE)


def short_digest(digest: str) -> str:
    """A code digest as records and `sparring info` show it: 16 digits tell any two sources apart."""
    return digest[:16]


def code_closure(*roots: Any) -> tuple[Definition, ...]:
    """The definitions that `code_digest` covers, sorted."""
    return tuple(sorted(_closure([_root(root) for root in roots])))


def _root(root: Any) -> Definition:
    if isinstance(root, Definition):
        return root
    module = root.__module__
    name = root.__qualname__.split(".")[0]
    return Definition(module, name if _is_core(module) else WHOLE)


def _is_core(module: str) -> bool:
    return module == CORE or module.startswith(CORE + ".")


def _closure(starts: Iterable[Definition]) -> set[Definition]:
    reached: set[Definition] = set()
    waiting = list(starts)
    while waiting:
        definition = waiting.pop()
        if definition not in reached and definition.module not in DECLARATIVE:
            reached.add(definition)
            waiting.extend(_uses(definition))
    return reached


@cache
def _uses(definition: Definition) -> tuple[Definition, ...]:
    module = _module(definition.module)
    nodes = module.nodes_of(definition.name)
    names = {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}
    found = [Definition(definition.module, name) for name in names if name in module.definitions]
    imported = [imp for name in names for imp in module.imports.get(name, ())]
    imported += [d for node in nodes for _, d in _imports(node, definition.module)]
    own = definition.module.split(".")[0]
    found += [_narrowed(d) for d in imported if d.module.split(".")[0] in (own, CORE)]
    if definition.name != WHOLE and module.loose:
        found.append(Definition(definition.module, ""))
    return tuple(found if definition.name != WHOLE else [d for d in found if d.module != definition.module])


def _narrowed(definition: Definition) -> Definition:
    """Names of the core stay names; anything else means its whole module. `from package import module` is a module."""
    inner = f"{definition.module}.{definition.name}"
    if definition.name != WHOLE and _is_package(definition.module) and _source_path(inner) is not None:
        return Definition(inner, WHOLE)
    if _is_core(definition.module):
        return definition
    return Definition(definition.module, WHOLE)


@dataclass(frozen=True)
class _Module:
    """A parsed module: definitions and imports by the name they bind, and loose statements that run on import."""

    tree: ast.Module
    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, list[Definition]]
    loose: list[ast.stmt]

    def nodes_of(self, name: str) -> list[ast.stmt]:
        if name == WHOLE:
            return self.tree.body
        return self.loose if name == "" else self.definitions.get(name, [])


@cache
def _module(name: str) -> _Module:
    path = _source_path(name)
    if path is None:
        raise OSError(f"the source of module {name} cannot be found, so nothing it computes can be keyed")
    tree = _stripped(ast.parse(path.read_bytes(), filename=str(path)))
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, list[Definition]] = {}
    loose: list[ast.stmt] = []
    for node in tree.body:
        bound = list(_bound_names(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias, definition in _imports(node, name):
                imports.setdefault(alias, []).append(definition)
        elif bound:
            for alias in bound:
                definitions.setdefault(alias, []).append(node)
        else:
            loose.append(node)
    return _Module(tree, definitions, imports, loose)


@cache
def _source_path(name: str) -> Path | None:
    """Where a module's source lies. Looking for `a.b` imports `a`, so ask only where `a` is a package."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _is_package(module: str) -> bool:
    path = _source_path(module)
    return path is not None and path.name == "__init__.py"


def _bound_names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def _imports(node: ast.AST, module: str) -> Iterator[tuple[str, Definition]]:
    """(name bound, what it is bound to) for every import inside `node`."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            for alias in inner.names:
                yield alias.asname or alias.name.split(".")[0], Definition(alias.name, WHOLE)
        elif isinstance(inner, ast.ImportFrom):
            source = _absolute(inner, module)
            for alias in inner.names:
                yield alias.asname or alias.name, Definition(source, alias.name)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if _is_package(module) else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


class _Strip(ast.NodeTransformer):
    """Drops docstrings and everything under `if TYPE_CHECKING`."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(child) for child in node.orelse]
        return self.generic_visit(node)

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> ast.AST:
        self.generic_visit(node)
        node.body = [child for child in node.body if not _is_bare_text(child)]
        if not node.body and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Module = _body  # noqa: N815


def _is_bare_text(node: ast.stmt) -> bool:
    """A docstring, of whatever it stands under."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _stripped(tree: ast.Module) -> ast.Module:
    stripped: ast.Module = _Strip().visit(tree)
    return stripped


@cache
def _canonical_definition(definition: Definition) -> str:
    return "\n".join(canonical_code(node) for node in _module(definition.module).nodes_of(definition.name))


def canonical_code(node: Any) -> str:
    """A syntax tree as text that is the same on every supported Python: fields in name order, empty ones left out."""
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr({canonical_code(_merged(node.values))})"
    if isinstance(node, ast.AST):
        silent = _SILENT | _ANNOTATIONS.get(type(node), frozenset())
        shown = ((name, getattr(node, name, None)) for name in sorted(node._fields) if name not in silent)
        parts = [f"{name}={canonical_code(v)}" for name, v in shown if v is not None and v != []]
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return "[" + ",".join(canonical_code(item) for item in node) + "]"
    return repr(node)


def _merged(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts joined and empty ones left out: Pythons cut them differently."""
    merged: list[ast.expr] = []
    for value in values:
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            merged.append(value)
    return merged


_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})

_ANNOTATIONS: dict[type[ast.AST], frozenset[str]] = {
    ast.arg: frozenset({"annotation"}),
    ast.FunctionDef: frozenset({"returns"}),
    ast.AsyncFunctionDef: frozenset({"returns"}),
}
"""Annotations of functions do not compute, so they are left out; but the closure follows them to the types that are
handed in. Those of class bodies stay: dataclasses read them."""
