"""Labels as people read them. Records, table.csv and the panel of a cell keep the exact ones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sparring.threat import ALIASES, THREAT_FIELDS

SHORT: Final = {field: alias for alias, field in ALIASES.items()}
"""Threat field -> the shorter name that a selector may use."""

_LONG_FRACTION = re.compile(r"(?<=[=\[,])0?\.\d{6,18}(?=[,\]]|$)")


Split = tuple[str, tuple[str, ...]]
"""A plugin's name, and its settings: ("pgd", ("eps=0.1", "steps=20"))."""

ALLOWED: Final = frozenset(SHORT.get(name, name) for name in THREAT_FIELDS)
"""Settings that say what an attack is allowed, which is never left out."""

LONGEST: Final = 40
"""Characters of the settings of a plugin that a board has once; longer ones are told below the tables."""


Shown = Mapping[str, Mapping[str, str]]
"""By plugin name: setting -> what stands for it, "" for nothing."""


@dataclass(frozen=True, slots=True)
class Names:
    """What one board calls its attacks, data sets, victims and defences: what all of a name have in common is left out,
    but for what an attack is allowed, and a plugin inside another goes by its name where that tells it apart."""

    attacks: Shown = field(default_factory=dict)
    others: Shown = field(default_factory=dict)

    @classmethod
    def of(cls, attacks: Iterable[str], others: Iterable[str]) -> Names:
        """Of the labels of all attacks, and of everything else."""
        return cls(_shown(map(split_attack, attacks)), _shown(map(split_label, others)))

    def attack_parts(self, label: str) -> Split:
        """`pgd[epsilon=0.1,steps=20]` as ("pgd", ("eps=0.1",)) where all have 20 steps."""
        return _called(split_attack(label), self.attacks)

    def plugin_parts(self, label: str) -> Split:
        """The same of a data set, victim or defence."""
        return _called(split_label(label), self.others)

    def attack(self, label: str) -> str:
        """`pgd[eps=0.1]`."""
        return joined(self.attack_parts(label))

    def plugin(self, label: str) -> str:
        """`cnn[epochs=4]`."""
        return joined(self.plugin_parts(label))

    def defence(self, label: str) -> str:
        """As part of a sentence."""
        return "no defence" if label == "none" else self.plugin(label)

    @property
    def left_out(self) -> tuple[str, ...]:
        """ "cnn[batch_size=128,learning_rate=0.001]" for each plugin of which something is left out or shortened."""
        both = [*self.others.items(), *self.attacks.items()]
        return tuple(joined((name, tuple(sorted(settings)))) for name, settings in both if settings)


def joined(parts: Split) -> str:
    """The label that has these parts."""
    name, params = parts
    return f"{name}[{','.join(params)}]" if params else name


def _shown(labels: Iterable[Split]) -> dict[str, dict[str, str]]:
    by_name: dict[str, dict[tuple[str, ...], None]] = defaultdict(dict)  # in the order of the board
    for name, params in labels:
        by_name[name][params] = None
    return {name: _left_out(list(every)) | _shortened(every) for name, every in by_name.items()}


def _left_out(labels: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """What the labels of one plugin have in common; of a lone label, what is too long."""
    telling = [frozenset(param for param in params if _key(param) not in ALLOWED) for params in labels]
    common = frozenset.intersection(*telling)
    return dict.fromkeys(common, "") if len(labels) > 1 or len(",".join(common)) > LONGEST else {}


def _shortened(labels: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """`external=mnist[classes=[5,6]]` -> `external=mnist`, where no other `external` is called so."""
    by_key: dict[str, dict[str, str]] = defaultdict(dict)
    for param in sorted({param for params in labels for param in params}):
        by_key[_key(param)][param] = _NESTED.sub(r"\1", param)
    distinct = [found for found in by_key.values() if len(set(found.values())) == len(found) > 1]
    return {param: short for found in distinct for param, short in found.items() if short != param}


_NESTED = re.compile(r"^(\w+=[a-z][a-z0-9-]*)\[.*\]$", re.DOTALL)


def _key(param: str) -> str:
    return param.partition("=")[0]


def _called(parts: Split, shown: Shown) -> Split:
    name, params = parts
    words = (shown.get(name, {}).get(param, param) for param in params)
    return name, tuple(word for word in words if word)


def attack_text(label: str) -> str:
    """`pgd[epsilon=0.1,steps=20]` as `pgd[eps=0.1,steps=20]`. No attack has a parameter of its own with such a name,
    so that both select the same."""
    name, params = split_label(label)
    return joined((name, tuple(map(_short_name, params)))) if params else plugin_text(name)


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
