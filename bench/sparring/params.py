"""Raw values, as YAML, JSON and selectors give them, to the typed params of a plugin, and back.

A field's annotation says what is accepted: `str`, `int`, `float`, `bool`, enums, `Literal`, `tuple`, a nested params
class, `Selection` (a reference to another plugin), `StoredFile`, and unions of these with `None`. A list for a field
that is no tuple is swept: one params object for each of its values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from itertools import product
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from sparring.cell import Selection, format_value
from sparring.errors import BadInput, inside, near_miss
from sparring.plugin import PARAM_INFO, Bounds, Kind, ParamInfo
from sparring.selector import number
from sparring.stored_file import StoredFile, stored_file

Resolve = Callable[[Kind, Any], Sequence[Selection]]
"""(kind, raw selector) -> the resolved selections it stands for; several where it sweeps."""


def no_references(kind: Kind, raw: Any) -> Sequence[Selection]:
    """A `Resolve` for where no plugin may be named."""
    raise BadInput(f"no {kind} can be named here")


def sweep(
    params_class: type[Any],
    raw: Mapping[str, Any],
    owner: str,
    resolve: Resolve = no_references,
    also_known: Iterable[str] = (),
    folder: Path = Path(),
) -> list[Any]:
    """All params objects that `raw` stands for, in the order of the fields, the last field fastest.

    Args:
        owner: whose params these are, for messages.
        also_known: further names for near misses.
        folder: what the paths of stored files are relative to.

    Raises:
        BadInput: unknown key, wrong type, value out of range; its trail ends in the key.
    """
    declared = {f.name: f for f in fields(params_class)}
    for key in raw:
        if key not in declared:
            guess = near_miss(str(key), [*declared, *also_known])
            raise BadInput(f"{owner} has no parameter {str(key)!r}{guess}", trail=(str(key),))
    hints = hints_of(params_class)
    written = {name: raw.get(name, plain_value(default_of(field))) for name, field in declared.items()}
    choices = {
        name: _Place(owner, field, resolve, folder).values(hints[name], written[name])
        for name, field in declared.items()
        if written[name] is not MISSING
    }
    combinations = product(*choices.values())
    return [_made(params_class, dict(zip(choices, values, strict=True)), owner) for values in combinations]


def _made(params_class: type[Any], values: dict[str, Any], owner: str) -> Any:
    absent = [f.name for f in fields(params_class) if f.name not in values and default_of(f) is MISSING]
    if absent:
        raise BadInput(f"{owner} needs {', '.join(absent)}")
    try:
        return params_class(**values)
    except ValueError as error:  # a rule of the plugin's own, between several of its params
        raise BadInput(f"{owner}: {error}") from error


def info_of(field: Field[Any]) -> ParamInfo:
    """What the field's metadata says of it; empty for a field that was not declared with `param` or `reference`."""
    info = field.metadata.get(PARAM_INFO)
    return info if isinstance(info, ParamInfo) else ParamInfo("")


def referred(params: Any) -> Iterator[tuple[Kind, Selection]]:
    """The plugins that a params instance refers to, one by one; "the victim of the cell itself" is none of them."""
    for f in fields(params):
        kind, value = info_of(f).reference, getattr(params, f.name)
        for part in value if isinstance(value, tuple) else (value,):
            if kind is not None and isinstance(part, Selection) and part.params is not None:
                yield kind, part


def default_of(field: Field[Any]) -> Any:
    """The default, `MISSING` when there is none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def hints_of(params_class: type[Any]) -> Mapping[str, Any]:
    """The annotations of a params class, evaluated."""
    return get_type_hints(params_class)


@dataclass(frozen=True)
class _Place:
    """One field of one plugin's params: converts what was written there."""

    owner: str
    field: Field[Any]
    resolve: Resolve
    folder: Path

    @property
    def info(self) -> ParamInfo:
        return info_of(self.field)

    def values(self, hint: Any, raw: Any) -> list[Any]:
        """The values that `raw` stands for: one, or more where it sweeps."""
        with inside(self.field.name):
            return self.swept(hint, raw)

    def swept(self, hint: Any, raw: Any) -> list[Any]:
        if isinstance(raw, list | tuple) and not _reads_as_one(hint, raw):
            if not raw:
                raise self.wrong("has an empty list, which stands for no value")
            return [value for part in raw for value in self.swept(hint, part)]
        return self.one(hint, raw)

    def one(self, hint: Any, raw: Any) -> list[Any]:
        if hint is Selection:
            return list(self.resolve(self.info.reference or Kind.ATTACK, raw))
        if get_origin(hint) in (Union, UnionType):
            return self.of_union(get_args(hint), raw)
        if get_origin(hint) is tuple:
            return [self.tuple_of(get_args(hint), raw)]
        if hint is StoredFile:
            return [self.stored(raw)]
        if is_dataclass(hint) and isinstance(hint, type):
            if isinstance(raw, Mapping) or raw == []:
                return sweep(
                    hint, dict(raw or {}), f"{self.owner}: {self.field.name}", self.resolve, folder=self.folder
                )
            raise self.expects("a mapping of parameters", raw)
        return [self.scalar(hint, raw)]

    def of_union(self, members: tuple[Any, ...], raw: Any) -> list[Any]:
        if raw is None and NoneType in members:
            return [None]
        rest = [member for member in members if member is not NoneType]
        exact = [member for member in rest if type(raw) is member]
        for member in exact:
            return self.one(member, raw)
        for member in rest[:-1]:
            try:
                return self.one(member, raw)
            except BadInput:
                continue
        return self.one(rest[-1], raw)

    def tuple_of(self, members: tuple[Any, ...], raw: Any) -> tuple[Any, ...]:
        if not isinstance(raw, list | tuple):
            raise self.expects("a list", raw)
        if len(members) == 2 and members[1] is Ellipsis:
            hints: Sequence[Any] = [members[0]] * len(raw)
        else:
            hints = members
        if len(hints) != len(raw):
            raise self.expects(f"a list of {len(hints)}", raw)
        items = [self.one(hint, part) for hint, part in zip(hints, raw, strict=True)]
        if any(len(item) != 1 for item in items):
            raise self.wrong("inside a list, nothing can be swept")
        return tuple(item[0] for item in items)

    def stored(self, raw: Any) -> StoredFile:
        if not isinstance(raw, str | Mapping):
            raise self.expects("the path of a file", raw)
        try:
            return stored_file(raw, self.folder)
        except BadInput as error:
            raise self.wrong(f"names no file that can be used: {error}") from error

    def scalar(self, hint: Any, raw: Any) -> Any:
        raw = raw.value if isinstance(raw, Enum) else raw
        if get_origin(hint) is Literal:
            return self.chosen(raw, get_args(hint))
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint(self.chosen(raw, [member.value for member in hint]))
        if hint is bool:
            if not isinstance(raw, bool):
                raise self.expects("true or false", raw)
            return raw
        if hint is int:
            return self.bounded(self.whole(raw))
        if hint is float:
            return self.bounded(self.real(raw))
        if not isinstance(raw, str):
            quote = " (quote it)" if isinstance(raw, bool | int | float) else ""
            raise self.expects(f"text{quote}", raw)
        return self.chosen(raw, self.info.choices) if self.info.choices else str(raw)

    def whole(self, raw: Any) -> int:
        value = number(raw) if isinstance(raw, str) else raw
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.expects("a whole number", raw)
        return value

    def real(self, raw: Any) -> float:
        value = number(raw) if isinstance(raw, str) else raw
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.expects("a number", raw)
        try:
            exact = float(value) + 0.0  # -0.0 and 0.0 are one value, and shall have one key
        except OverflowError:
            exact = math.inf
        if not math.isfinite(exact):
            raise self.expects("a finite number", raw)
        return exact

    def chosen(self, raw: Any, choices: Iterable[Any]) -> Any:
        known = list(choices)
        for choice in known:
            if choice == raw and type(choice) is type(raw):
                return choice
        guess = near_miss(raw, [c for c in known if isinstance(c, str)]) if isinstance(raw, str) else ""
        raise self.expects(f"one of {', '.join(format_value(c) for c in known)}", raw, guess)

    def bounded(self, value: Any) -> Any:
        if broken := broken_bound(value, self.info.bounds):
            raise self.wrong(f"must be {broken}, not {format_value(value)}")
        return value

    def expects(self, what: str, raw: Any, guess: str = "") -> BadInput:
        return self.wrong(f"expects {what}, not {_shown(raw)}{guess}")

    def wrong(self, sentence: str) -> BadInput:
        return BadInput(f"{self.owner}: {self.field.name} {sentence}")


def _reads_as_one(hint: Any, raw: Sequence[Any]) -> bool:
    """Whether a list is one value of the annotated type, and not several to sweep."""
    if get_origin(hint) in (Union, UnionType):
        return any(_reads_as_one(member, raw) for member in get_args(hint))
    if get_origin(hint) is tuple:
        nested = any(_is_tuple(member) for member in get_args(hint))
        return nested or not (raw and all(isinstance(part, list | tuple) for part in raw))
    return is_dataclass(hint) and hint is not Selection and not raw


def _is_tuple(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_is_tuple(member) for member in get_args(hint))
    return get_origin(hint) is tuple


def _shown(raw: Any) -> str:
    if isinstance(raw, Mapping):
        return "a mapping"
    text = repr(raw) if isinstance(raw, str) else format_value(raw)
    return text if len(text) <= 60 else f"{text[:57]}..."


def broken_bound(value: float, bounds: Bounds) -> str | None:
    """The bound that `value` lies outside of, as words, or `None`."""
    if bounds.at_least is not None and value < bounds.at_least:
        return f"at least {bounds.at_least:g}"
    if bounds.above is not None and value <= bounds.above:
        return f"above {bounds.above:g}"
    if bounds.at_most is not None and value > bounds.at_most:
        return f"at most {bounds.at_most:g}"
    if bounds.below is not None and value >= bounds.below:
        return f"below {bounds.below:g}"
    return None


def to_plain(params: Any) -> dict[str, Any]:
    """All fields as JSON values. `sweep` makes the same params of it, also after a way through JSON or YAML."""
    return {f.name: plain_value(getattr(params, f.name)) for f in fields(params)}


def plain_value(value: Any) -> Any:
    """One value of a params object as a JSON value."""
    if isinstance(value, Selection):
        return value.name if value.params is None else {value.name: to_plain(value.params)}
    if isinstance(value, Enum):
        return plain_value(value.value)
    if isinstance(value, tuple | list):
        return [plain_value(part) for part in value]
    return to_plain(value) if is_dataclass(value) else value


class ParamDescription(NamedTuple):
    """One parameter, for people.

    Attributes:
        type: "int", "one of a, b", "victim" for a reference.
        default: as written in a selector.
        limits: "at least 1", "" when there are none.
    """

    name: str
    type: str
    default: str
    meaning: str
    limits: str
    unit: str


def describe(params_class: type[Any]) -> list[ParamDescription]:
    """The parameters of a plugin, in declaration order."""
    hints = hints_of(params_class)
    described = []
    for field in fields(params_class):
        info = info_of(field)
        default = default_of(field)
        # the default of a reference is a selector already
        written = default if info.reference is not None and isinstance(default, str) else format_value(default)
        kind = type_text(hints[field.name], info)
        described.append(ParamDescription(field.name, kind, written, info.meaning, limits_text(info.bounds), info.unit))
    return described


def limits_text(bounds: Bounds) -> str:
    """ "at least 0, below 1"."""
    named = {"at least": bounds.at_least, "above": bounds.above, "at most": bounds.at_most, "below": bounds.below}
    return ", ".join(f"{words} {limit:g}" for words, limit in named.items() if limit is not None)


def type_text(hint: Any, info: ParamInfo) -> str:
    """An annotation in words."""
    if hint is Selection:
        return str(info.reference or "plugin")
    if get_origin(hint) in (Union, UnionType):
        return " or ".join("null" if m is NoneType else type_text(m, info) for m in get_args(hint))
    if get_origin(hint) is tuple:
        members = [type_text(m, info) for m in get_args(hint) if m is not Ellipsis]
        return f"list of {', '.join(members)}" if members else "empty list"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(format_value(choice) for choice in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(format_value(member) for member in hint)
    if info.choices:
        return "one of " + ", ".join(info.choices)
    if hint is StoredFile:
        return "path of a stored file"
    return str(getattr(hint, "__name__", hint))


def unsupported(hint: Any) -> bool:
    """Whether no raw value can be converted to this annotation."""
    if get_origin(hint) in (Union, UnionType, tuple):
        return any(unsupported(m) for m in get_args(hint) if m is not Ellipsis and m is not NoneType)
    if get_origin(hint) is Literal or hint in (str, int, float, bool, Selection):
        return False
    return not (isinstance(hint, type) and (issubclass(hint, Enum) or is_dataclass(hint)))
