"""One point of the cross-product, and what names it. Import-light."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from sparring.stored_file import StoredFile
from sparring.threat import ThreatModel


@dataclass(frozen=True, slots=True)
class Selection:
    """A plugin chosen by name, with its parameters.

    `params` is an instance of the plugin's own frozen params class; `None` stands for a reference
    that the catalogue has not resolved yet. Prints as a selector: `pgd[steps=20]`, defaults left out.
    """

    name: str
    params: Any = None

    def __str__(self) -> str:
        changed = changed_params(self.params)
        inside = ",".join(f"{k}={format_value(v)}" for k, v in changed.items())
        return f"{self.name}[{inside}]" if inside else self.name


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One frozen point of the product. Its names are made once: planning asks for them again and again.

    Attributes:
        threat: when and goal, and of the other fields those that the attack reads.
        usual: what the attack's declaration fixes anyway, and labels therefore leave out.
    """

    dataset: Selection
    victim: Selection
    attack: Selection
    defence: Selection
    threat: ThreatModel
    repetition: int
    usual: ThreatModel = field(default=ThreatModel(), compare=False, repr=False)

    @cached_property
    def attack_label(self) -> str:
        """The attack as a selector with its threat fields among its parameters: `pgd[epsilon=0.1,steps=20]`."""
        usual = self.usual.stated() | {"adaptive": self.threat.adaptive}
        inside = {k: format_value(v) for k, v in self.threat.stated().items() if usual.get(k) != v}
        inside |= {k: format_value(v) for k, v in changed_params(self.attack.params).items()}
        text = ",".join(f"{k}={v}" for k, v in inside.items())
        return f"{self.attack.name}[{text}]" if text else self.attack.name

    @cached_property
    def defence_label(self) -> str:
        """The defence, with `@adaptive` or `@oblivious` where the threat model says whether a guard is known."""
        if self.threat.adaptive is None:
            return str(self.defence)
        return f"{self.defence}@{'adaptive' if self.threat.adaptive else 'oblivious'}"

    @cached_property
    def id(self) -> str:
        """`dataset/victim/attack/defence/r0`: unique within a board, readable, and what `--only` matches."""
        parts = (str(self.dataset), str(self.victim), self.attack_label, self.defence_label, f"r{self.repetition}")
        return "/".join(parts)

    def __str__(self) -> str:
        return self.id


def changed_params(params: Any) -> dict[str, Any]:
    """The fields of `params` that differ from their defaults (fields without a default always count)."""
    if params is None:
        return {}
    return {f.name: v for f in fields(params) if not _is_default(f, v := getattr(params, f.name))}


def _is_default(declared: Field[Any], value: Any) -> bool:
    default = declared.default if declared.default_factory is MISSING else declared.default_factory()
    if isinstance(value, Selection) and isinstance(default, str):  # references are declared as selectors
        return str(value) == default
    return bool(value == default)


_WORD = re.compile(r"[A-Za-z_][\w.+-]*")
_CONSTANTS = ("true", "false", "null")


def format_value(value: Any) -> str:
    """`value` as it is written inside a selector; `sparring.selector` reads the same value back."""
    if isinstance(value, Enum):
        return format_value(value.value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        short = f"{value:.12g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, tuple | list):
        return "[" + ",".join(format_value(v) for v in value) + "]"
    if isinstance(value, str):
        plain = _WORD.fullmatch(value) and value not in _CONSTANTS
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, StoredFile):
        return format_value(str(value))
    if is_dataclass(value) and not isinstance(value, Selection):
        return "[" + ",".join(f"{k}={format_value(v)}" for k, v in changed_params(value).items()) + "]"
    return str(value)
