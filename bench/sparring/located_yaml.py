"""YAML as plain data that remembers on which line everything stands. Never runs code, refuses doubled keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sparring.errors import BadInput, Step

_PLAIN_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_MOST_NODES = 100_000  # a few lines of nested aliases can stand for billions of nodes


@dataclass(frozen=True)
class Located:
    """What a YAML file holds.

    Attributes:
        value: mappings, lists, text, numbers, booleans and None; other YAML types stay text.
        lines: the line (from 1) of everything, by the keys and positions that lead to it.
    """

    file: Path
    value: Any
    lines: Mapping[tuple[Step, ...], int]

    def line_of(self, trail: tuple[Step, ...]) -> int | None:
        """The line of what `trail` leads to, or of the closest thing around it."""
        for length in range(len(trail), -1, -1):
            if trail[:length] in self.lines:
                return self.lines[trail[:length]]
        return None

    def locate(self, error: BadInput) -> BadInput:
        """The same bad input, with the file and the line."""
        error.file, error.line = self.file, self.line_of(error.trail)
        return error


def read_yaml(file: Path) -> Located:
    """Read one YAML document.

    Raises:
        BadInput: the file cannot be read, is no YAML, has a key twice or that is no text, or refers to itself.
    """
    try:
        text = file.read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            reader = _Reader(file, loader)
            value = None if node is None else reader.value(node, ())
        finally:
            loader.dispose()
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=file) from error
    except UnicodeDecodeError as error:
        raise BadInput("is not a text file in UTF-8", file=file) from error
    except RecursionError:
        raise BadInput("is nested too deeply", file=file) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise BadInput(f"is no YAML: {problem}", file=file, line=mark.line + 1 if mark else None) from error
    return Located(file, value, reader.lines)


@dataclass
class _Reader:
    file: Path
    loader: yaml.SafeLoader
    lines: dict[tuple[Step, ...], int] = field(default_factory=dict)

    def value(self, node: yaml.Node, trail: tuple[Step, ...]) -> Any:
        self.lines.setdefault(trail, node.start_mark.line + 1)
        if len(self.lines) > _MOST_NODES:
            raise self.bad("is too large, or refers to itself", node)
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
            raise self.bad(f"the tag {node.tag!r} means nothing here", node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, trail)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*trail, position)) for position, child in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, trail: tuple[Step, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            key = self.scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise self.bad(f"a key is text; quote {getattr(key_node, 'value', 'it')!r}", key_node)
            if key in found:
                raise self.bad(f"the key {key!r} stands here a second time", key_node)
            self.lines[(*trail, key)] = key_node.start_mark.line + 1
            found[key] = self.value(child, (*trail, key))
        return found

    def scalar(self, node: yaml.Node) -> Any:
        try:
            value = self.loader.construct_object(node)
        except ValueError:  # looks like a date, and is none
            value = str(node.value)
        known = value is None or isinstance(value, str | bool | int | float)
        return value if known else str(node.value)

    def bad(self, message: str, node: yaml.Node) -> BadInput:
        return BadInput(message, file=self.file, line=node.start_mark.line + 1)
