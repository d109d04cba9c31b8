"""The one-line selector: what it reads, where it says it went wrong, and that printing and reading agree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.cell import Selection
from sparring.errors import BadInput
from sparring.params import sweep
from sparring.selector import number, parse


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("pgd", "pgd", {}),
        ("pgd[]", "pgd", {}),
        (" pgd [ eps = 0.3 , steps = 40 ] ", "pgd", {"eps": 0.3, "steps": 40}),
        ("pgd[eps=[0.1,8/255]]", "pgd", {"eps": [0.1, 8 / 255]}),
        (
            "pgd[a=true,b=false,c=null,d=relu,e=white-box]",
            "pgd",
            {"a": True, "b": False, "c": None, "d": "relu", "e": "white-box"},
        ),
        ("""pgd[a="x, ]=\\" y",b='8/255']""", "pgd", {"a": 'x, ]=" y', "b": "8/255"}),
        (
            "transfer[attack=pgd[steps=10],surrogate=cnn]",
            "transfer",
            {"attack": {"pgd": {"steps": 10}}, "surrogate": "cnn"},
        ),
        ("cnn[recipe=[epochs=3,optimiser=sgd]]", "cnn", {"recipe": {"epochs": 3, "optimiser": "sgd"}}),
        ("dots[classes=[[0,1],[2]]]", "dots", {"classes": [[0, 1], [2]]}),
    ],
)
def test_reads(text, name, settings):
    assert parse(text) == (name, settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a name at column 1 of ''"),
        ("pgd[eps=0.3", "expected ',' or ']' at column 12 of 'pgd[eps=0.3'"),
        ("pgd[eps=[1,2", "expected ',' or ']' at column 13 of 'pgd[eps=[1,2'"),
        ("pgd[eps]", "expected '=' at column 8 of 'pgd[eps]'"),
        ("pgd[eps=]", "expected a value at column 9 of 'pgd[eps=]'"),
        ("pgd[a=1,]", "expected a parameter at column 9 of 'pgd[a=1,]'"),
        ("pgd]", "expected the end at column 4 of 'pgd]'"),
        ("pgd[a=1] x", "expected the end at column 10 of 'pgd[a=1] x'"),
        ('pgd[a="x]', "expected a closing quote of the text at column 7 of 'pgd[a=\"x]'"),
        ("pgd[a=1,a=2]", "'a' is set twice in 'pgd[a=1,a=2]'"),
        ("pgd[a=" + "[" * 5000, "a selector is nested too deeply"),
    ],
)
def test_says_what_was_expected_and_where(text, message):
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "value"),
    [("40", 40), ("1e3", 1000), ("2.0", 2.0), ("1e-3", 0.001), ("8/255", 8 / 255), ("-.5", -0.5), ("+3", 3)],
)
def test_numbers(text, value):
    assert number(text) == value
    assert type(number(text)) is type(value)


@pytest.mark.parametrize("text", ["", "abc", "1/0", "nan", "inf", "1e999", "1_000", "0x10", "1/2/3", "9" * 5000])
def test_what_is_no_number(text):
    assert number(text) is None


class Colour(StrEnum):
    RED = "red"
    TRUE = "true"
    TWO_WORDS = "two words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    depth: int = 1
    rate: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    text: str = ""
    whole: int = 0
    real: float = 0.0
    flag: bool = False
    colour: Colour = Colour.RED
    maybe: float | None = None
    wholes: tuple[int, ...] = ()
    pairs: tuple[tuple[int, float], ...] = ()
    words: tuple[str, ...] = ()
    inner: Inner = Inner()


reals = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
whole_numbers = st.integers(-(10**15), 10**15)
everything = st.builds(
    Everything,
    text=st.text(),
    whole=whole_numbers,
    real=reals,
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    maybe=st.none() | reals,
    wholes=st.lists(whole_numbers).map(tuple),
    pairs=st.lists(st.tuples(whole_numbers, reals)).map(tuple),
    words=st.lists(st.text()).map(tuple),
    inner=st.builds(Inner, depth=whole_numbers, rate=reals),
)


@given(everything)
def test_what_a_selection_prints_is_read_back_as_the_same(params):
    name, settings = parse(str(Selection("plugin", params)))
    assert name == "plugin"
    assert sweep(Everything, settings, "plugin") == [params]


def test_defaults_are_left_out():
    assert str(Selection("plugin", Everything())) == "plugin"
    assert str(Selection("plugin", Everything(real=8 / 255, text="a b"))) == (
        'plugin[text="a b",real=0.03137254901960784]'
    )
