"""Labels as people read them: short, and still selectors that the command line takes. Records and table.csv keep the
exact ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sparring.threat import ALIASES

SHORT: Final = {field: alias for alias, field in ALIASES.items()}
"""Threat field -> the shorter name that a selector may use."""

_LONG_FRACTION = re.compile(r"(?<=[=\[,])0?\.\d{6,18}(?=[,\]]|$)")


def attack_text(label: str) -> str:
    """`pgd[epsilon=0.1,steps=20]` as `pgd[eps=0.1,steps=20]`. No attack has a parameter of its own with such a name,
    so that both select the same."""
    name, params = split_label(label)
    return f"{name}[{','.join(map(_short_name, params))}]" if params else plugin_text(name)


def plugin_text(label: str) -> str:
    """The label of a data set, victim or defence: parameters keep their names, 0.03137254901960784 reads 8/255."""
    return _LONG_FRACTION.sub(_of_255, label)


def split_label(label: str) -> tuple[str, tuple[str, ...]]:
    """`pgd[epsilon=0.1,steps=20]` as ("pgd", ("epsilon=0.1", "steps=20")), with fractions made short; what is no
    selector with parameters as (itself, ())."""
    name, bracket, rest = plugin_text(label).partition("[")
    if not name or not bracket or not rest.endswith("]"):
        return plugin_text(label), ()
    return name, tuple(_settings(rest[:-1]))


def split_attack(label: str) -> tuple[str, tuple[str, ...]]:
    """`split_label` of `attack_text`."""
    return split_label(attack_text(label))


def _settings(text: str) -> Iterator[str]:
    """`text` cut at its commas; those inside brackets or quotes stay."""
    start, depth, quoted = 0, 0, False
    for i, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character == "[") - (character == "]")
            if character == "," and depth == 0:
                yield text[start:i]
                start = i + 1
    yield text[start:]


def _short_name(setting: str) -> str:
    name, equals, value = setting.partition("=")
    return f"{SHORT.get(name, name)}{equals}{value}"


def _of_255(found: re.Match[str]) -> str:
    """k/255, where that is what was meant: images are made of such steps. 0.2 stays itself, though it is 51/255."""
    steps = round(float(found[0]) * 255)
    meant = 0 < steps < 255 and abs(float(found[0]) - steps / 255) < 1e-9
    return f"{steps}/255" if meant else found[0]
