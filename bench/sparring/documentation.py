"""What the public classes say of themselves, read from their source: nothing heavy is imported to show it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODULES = ("contracts", "data", "model", "threat", "training")
"""Modules of `sparring` whose classes plugins implement, are handed, or return."""


@dataclass(frozen=True)
class Told:
    """A class or a method, in the words of its source.

    Attributes:
        name: of the class or method.
        line: how it is written: `fit(train: ArrayDataset, recipe: Recipe, ctx: Context) -> Model`.
        text: its docstring; "" where it has none.
        members: of a class: its public methods, and its annotated attributes where no docstring lists them.
    """

    name: str
    line: str
    text: str
    members: tuple[Told, ...] = ()

    def mentions(self) -> set[str]:
        """Words of the lines of its members: names of types among them."""
        return {word for member in self.members for word in re.findall(r"\w+", member.line)}


def public_classes() -> dict[str, Told]:
    """The classes of `MODULES` by name, in the order of the source."""
    nodes = [node for module in MODULES for node in _parsed(module).body if isinstance(node, ast.ClassDef)]
    return {node.name: _class(node) for node in nodes if not node.name.startswith("_")}


def contract_rules() -> str:
    """What holds for all methods of plugins: shapes, ranges, and what must not be done."""
    return (ast.get_docstring(_parsed("contracts")) or "").partition("\n\n")[2]


def _parsed(module: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))


def _class(node: ast.ClassDef) -> Told:
    bases = [name for base in node.bases if (name := ast.unparse(base)) not in ("Protocol", "ABC")]
    line = f"{node.name}({', '.join(bases)})" if bases else node.name
    text = ast.get_docstring(node) or ""
    return Told(node.name, line, text, tuple(_members(node, described="Attributes:" in text)))


def _members(node: ast.ClassDef, *, described: bool) -> Iterator[Told]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield Told(child.name, _signature(child), ast.get_docstring(child) or "")
        elif isinstance(child, ast.AnnAssign) and not described and isinstance(child.target, ast.Name):
            yield Told(child.target.id, ast.unparse(child), "")
        elif isinstance(child, ast.Assign):  # of an enumeration
            yield Told(ast.unparse(child.targets[0]), ast.unparse(child), "")


def _signature(node: ast.FunctionDef) -> str:
    """As one reads it: without `self`, and a property as an attribute."""
    returns = ast.unparse(node.returns) if node.returns is not None else "None"
    if any(ast.unparse(mark) == "property" for mark in node.decorator_list):
        return f"{node.name}: {returns}"
    node.args.args = [argument for argument in node.args.args if argument.arg not in ("self", "cls")]
    return f"{node.name}({ast.unparse(node.args)}) -> {returns}"
