"""Raw values to typed params: what is accepted, what is refused and how, and the way back through JSON and YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest
import yaml
from hypothesis import given
from test_selector import Colour, Everything, everything

from sparring.cell import Selection
from sparring.errors import BadInput
from sparring.params import describe, sweep, to_plain
from sparring.plugin import Kind, param, reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    steps: int = param(40, "gradient steps", at_least=1, at_most=1000)
    rate: float = param(0.1, "step size", above=0, below=1, unit="pixels")
    flag: bool = param(False, "whether")
    backend: str = param("art", "which library", choices=("art", "torchattacks"))
    mode: Literal["fast", 2] = param("fast", "how")
    colour: Colour = param(Colour.RED, "which colour")
    maybe: float | None = param(None, "a number or nothing")
    shape: tuple[int, int] = param((1, 2), "height and width")
    rows: tuple[int, ...] = param((), "some rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    low: float = param(0.0, "from")
    high: float = param(1.0, "to")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low lies above high")


def one(**raw):
    (params,) = sweep(Params, raw, "pgd")
    return params


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        ({"rate": "8/255"}, "rate", 8 / 255),
        ({"rate": "1e-3"}, "rate", 0.001),
        ({"maybe": 3}, "maybe", 3.0),
        ({"maybe": None}, "maybe", None),
        ({"steps": "1e2"}, "steps", 100),
        ({"mode": 2}, "mode", 2),
        ({"colour": "two words"}, "colour", Colour.TWO_WORDS),
        ({"shape": [3, 4]}, "shape", (3, 4)),
        ({"rows": []}, "rows", ()),
    ],
)
def test_converts_to_the_annotated_type(raw, field, value):
    found = getattr(one(**raw), field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"stpes": 1}, "pgd has no parameter 'stpes'; did you mean 'steps'?"),
        ({"zzz": 1}, "pgd has no parameter 'zzz'"),
        ({"steps": True}, "pgd: steps expects a whole number, not true"),
        ({"steps": 2.0}, "pgd: steps expects a whole number, not 2"),
        ({"steps": "many"}, "pgd: steps expects a whole number, not 'many'"),
        ({"steps": 0}, "pgd: steps must be at least 1, not 0"),
        ({"steps": 1001}, "pgd: steps must be at most 1000, not 1001"),
        ({"steps": None}, "pgd: steps expects a whole number, not null"),
        ({"rate": 0}, "pgd: rate must be above 0, not 0"),
        ({"rate": 1}, "pgd: rate must be below 1, not 1"),
        ({"rate": True}, "pgd: rate expects a number, not true"),
        ({"rate": float("nan")}, "pgd: rate expects a finite number, not nan"),
        ({"rate": 10**400}, "pgd: rate expects a finite number, not "),
        ({"flag": 1}, "pgd: flag expects true or false, not 1"),
        ({"flag": "yes"}, "pgd: flag expects true or false, not 'yes'"),
        ({"backend": "torchatacks"}, "pgd: backend expects one of art, torchattacks, not 'torchatacks'; did you mean"),
        ({"backend": False}, "pgd: backend expects text (quote it), not false"),
        ({"mode": "2"}, "pgd: mode expects one of fast, 2, not '2'"),
        ({"colour": "rde"}, "pgd: colour expects one of red, "),
        ({"shape": 3}, "pgd: shape expects a list, not 3"),
        ({"shape": [1, 2, 3]}, "pgd: shape expects a list of 2, not [1,2,3]"),
        ({"steps": []}, "pgd: steps has an empty list, which stands for no value"),
        ({"steps": {"a": 1}}, "pgd: steps expects a whole number, not a mapping"),
    ],
)
def test_refuses_with_one_sentence(raw, message):
    with pytest.raises(BadInput) as caught:
        sweep(Params, raw, "pgd")
    assert caught.value.message.startswith(message)
    assert caught.value.trail == tuple(raw)


def test_lists_are_swept_in_the_order_of_the_fields():
    swept = sweep(Params, {"rate": [0.1, 0.2], "steps": [1, 2]}, "pgd")
    assert [(p.steps, p.rate) for p in swept] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]


def test_a_list_is_one_value_of_a_tuple_and_a_list_of_lists_sweeps_it():
    assert [p.rows for p in sweep(Params, {"rows": [1, 2]}, "pgd")] == [(1, 2)]
    assert [p.rows for p in sweep(Params, {"rows": [[1, 2], [3]]}, "pgd")] == [(1, 2), (3,)]


def test_a_rule_between_params_is_told_as_bad_input():
    with pytest.raises(BadInput, match=r"^noise: low lies above high$"):
        sweep(Ordered, {"low": 2}, "noise")


def test_nested_params_are_swept_and_their_mistakes_located():
    assert [p.inner.depth for p in sweep(Everything, {"inner": {"depth": [1, 2]}}, "cnn")] == [1, 2]
    with pytest.raises(BadInput, match="cnn: inner has no parameter 'deph'; did you mean 'depth'") as caught:
        sweep(Everything, {"inner": {"deph": 1}}, "cnn")
    assert caught.value.trail == ("inner", "deph")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    surrogate: Selection = reference(Kind.VICTIM, "cnn", "what it is made on")
    others: tuple[Selection, ...] = reference(Kind.VICTIM, (), "more of them")


def resolve(kind, raw):
    name, settings = next(iter(raw.items())) if isinstance(raw, dict) else (raw, {})
    return [Selection(f"{kind}:{name.partition(':')[2] or name}", p) for p in sweep(Params, settings, name)]


def test_references_are_resolved_also_by_default_and_sweep_with_their_params():
    (default,) = sweep(Transfer, {}, "transfer", resolve)
    assert default.surrogate.name == "victim:cnn"
    swept = sweep(Transfer, {"surrogate": ["cnn", {"mlp": {"steps": [1, 2]}}]}, "transfer", resolve)
    assert [str(p.surrogate) for p in swept] == ["victim:cnn", "victim:mlp[steps=1]", "victim:mlp[steps=2]"]


def test_references_go_through_json_and_back():
    (params,) = sweep(Transfer, {"surrogate": {"mlp": {"steps": 3}}, "others": ["a", "b"]}, "transfer", resolve)
    plain = json.loads(json.dumps(to_plain(params)))
    assert sweep(Transfer, plain, "transfer", resolve) == [params]


@given(everything)
def test_plain_values_go_through_json_and_yaml_and_back(params):
    plain = to_plain(params)
    for text in (json.dumps(plain, allow_nan=False), yaml.safe_dump(plain)):
        again = yaml.safe_load(text) if text is not None and not text.startswith("{") else json.loads(text)
        assert sweep(Everything, again, "plugin") == [params]
        assert to_plain(sweep(Everything, again, "plugin")[0]) == plain


def test_equal_values_written_differently_have_one_plain_form():
    forms = [to_plain(one(**raw)) for raw in ({}, {"rate": 0.1}, {"rate": "0.1"}, {"rate": "1/10"}, {"steps": "40"})]
    assert all(json.dumps(form) == json.dumps(forms[0]) for form in forms)
    whole_default = to_plain(sweep(Ordered, {"high": 1}, "noise")[0])
    assert json.dumps(whole_default) == json.dumps(to_plain(Ordered()))


def test_describes_parameters_in_words():
    described = {d.name: d for d in describe(Params)}
    assert described["steps"] == ("steps", "int", "40", "gradient steps", "at least 1, at most 1000", "")
    assert described["rate"][1:] == ("float", "0.1", "step size", "above 0, below 1", "pixels")
    assert described["backend"].type == "one of art, torchattacks"
    assert described["colour"].type == 'one of red, "true", "two words"'
    assert described["maybe"][1:3] == ("float or null", "null")
    assert described["rows"][1:3] == ("list of int", "[]")
    assert {d.name: (d.type, d.default) for d in describe(Transfer)}["surrogate"] == ("victim", "cnn")
