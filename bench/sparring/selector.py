"""The one-line form of a plugin with its parameters: `pgd[eps=[0.1,0.3],steps=40]`.

    selector  = name [ "[" [ settings ] "]" ]
    settings  = key "=" value { "," key "=" value }
    value     = word | text | list | mapping | selector
    list      = "[" [ value { "," value } ] "]"
    mapping   = "[" settings "]"
    text      = "..." with the escapes of JSON, or '...' without escapes

A word is a number (`0.3`, `1e-3`, `8/255`), `true`, `false`, `null`, or itself. A selector inside a value becomes
`{name: settings}`, which is how a suite file writes the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sparring.errors import BadInput

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMERIC = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'[^']*'")
_WORD = re.compile(r"""[^\s\[\]=,"']+""")
_CONSTANTS = {"true": True, "false": False, "null": None}


def number(text: str) -> int | float | None:
    """The finite number that `text` writes, or `None`: '40' and '1e3' are int; '2.0' and '8/255' are float."""
    match = _NUMERIC.fullmatch(text)
    if match is None or len(text) > 400:
        return None
    top, bottom = match.groups()
    if bottom is not None:
        return float(top) / float(bottom) if float(bottom) else None
    value = float(top)
    if abs(value) == float("inf"):
        return None
    if "." in top or not value.is_integer():
        return value
    return int(value) if "e" in top.lower() else int(top)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the settings of a selector, values not yet coerced.

    Raises:
        BadInput: names what was expected, and the column (from 1).
    """
    reader = _Reader(text)
    name = reader.word("a name")
    try:
        settings = reader.settings() if reader.take("[") else {}
    except RecursionError:
        raise BadInput("a selector is nested too deeply") from None
    reader.finish()
    return name, settings


class _Reader:
    """A recursive-descent reader; each method leaves `at` behind what it read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def take(self, mark: str) -> bool:
        found = self.peek() == mark
        self.at += found
        return found

    def need(self, mark: str, what: str) -> None:
        if not self.take(mark):
            raise self.expected(what)

    def expected(self, what: str) -> BadInput:
        return BadInput(f"expected {what} at column {self.at + 1} of {self.text!r}")

    def finish(self) -> None:
        if self.peek():
            raise self.expected("the end")

    def word(self, what: str) -> str:
        self.peek()
        match = _WORD.match(self.text, self.at)
        if match is None:
            raise self.expected(what)
        self.at = match.end()
        return match.group()

    def settings(self) -> dict[str, Any]:
        """What stands between '[' and the closing ']', which is read too."""
        found: dict[str, Any] = {}
        while not self.take("]"):
            if found:
                self.need(",", "',' or ']'")
            key = self.word("a parameter")
            if key in found:
                raise BadInput(f"'{key}' is set twice in {self.text!r}", trail=(key,))
            self.need("=", "'='")
            found[key] = self.value()
        return found

    def value(self) -> Any:
        if self.peek() in {'"', "'"}:
            return self.quoted()
        if self.take("["):
            return self.settings() if self.starts_setting() else self.items()
        word = self.word("a value")
        if self.take("["):
            return {word: self.settings()}
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        value = number(word)
        return word if value is None else value

    def starts_setting(self) -> bool:
        self.peek()
        match = _WORD.match(self.text, self.at)
        return match is not None and self.text[match.end() :].lstrip().startswith("=")

    def items(self) -> list[Any]:
        found: list[Any] = []
        while not self.take("]"):
            if found:
                self.need(",", "',' or ']'")
            found.append(self.value())
        return found

    def quoted(self) -> str:
        match = _TEXT.match(self.text, self.at)
        if match is None:
            raise self.expected("a closing quote of the text")
        try:
            value = match.group()[1:-1] if match.group()[0] == "'" else str(json.loads(match.group()))
        except json.JSONDecodeError as error:
            raise self.expected("a text with the escapes of JSON") from error
        self.at = match.end()
        return value
