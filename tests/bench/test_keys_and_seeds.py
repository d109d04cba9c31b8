"""Golden keys and seeds: they must never move by themselves, or every record would be stale."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.cell import Selection
from sparring.keys import canonical_json, digest_of
from sparring.seeds import derive
from sparring.threat import Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = 40
    norm: Norm = Norm.LINF
    sizes: tuple[int, ...] = (1, 2)
    scale: float = 0.1


def test_canonical_form() -> None:
    value = {"b": Selection("pgd", Params()), "a": [1, 2.5, None, True, "é"]}
    assert canonical_json(value) == (
        '{"a":[1,2.5,null,true,"\\u00e9"],"b":{"name":"pgd","params":'
        '{"norm":"linf","scale":0.1,"sizes":[1,2],"steps":40}}}'
    )


def test_golden_key_and_seed() -> None:
    assert digest_of(["fit", Params()]) == GOLDEN_KEY
    assert derive(20261120, "fit", "digits", "cnn", 0) == GOLDEN_SEED


GOLDEN_KEY = "8b082ad5f84d271bd348cc6d30dd9921ab70647fb52ce247083cd7bc662eec39"
GOLDEN_SEED = 6847765713329600453

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_the_canonical_form_survives_a_round_trip(value: object) -> None:
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_order_does_not_matter(value: dict[str, int]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_has_no_key(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_of(value)


def test_strangers_have_no_key() -> None:
    with pytest.raises(TypeError, match="object cannot be part of a key"):
        digest_of({"x": object()})


@given(st.integers(0, 2**40), st.text(), st.lists(st.text() | st.integers(), max_size=4))
def test_seeds_fit_every_generator_and_purposes_do_not_share(root: int, purpose: str, depends: list[str | int]) -> None:
    seed = derive(root, purpose, *depends)
    assert 0 <= seed < 2**63
    assert seed != derive(root, purpose + "'", *depends)
    assert seed != derive(root + 1, purpose, *depends)
