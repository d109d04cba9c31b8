"""`sparring contracts`: what it shows is what the code says, whole, and found by every name that an author may try."""

from __future__ import annotations

import inspect
import re

import pytest
from click.testing import CliRunner

from sparring import contracts, data, model, threat, training
from sparring.cli.contracts import CONTRACTS, command
from sparring.declarations import ACTS
from sparring.documentation import public_classes
from sparring.errors import BadInput
from sparring.plugin import Act, Kind


def told(*arguments: str) -> str:
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_every_kind_and_act_has_a_contract() -> None:
    assert set(CONTRACTS) == set(Kind)
    for kind, acts in ACTS.items():
        assert set(CONTRACTS[kind]) == acts
    protocols = {name for name, cls in vars(contracts).items() if getattr(cls, "_is_protocol", False)}
    shown = {protocol for acts in CONTRACTS.values() for protocol in acts.values()}
    assert protocols - shown == {"Protocol", "Checkpoints"}  # the latter is the harness's own


@pytest.mark.parametrize("kind", Kind)
def test_methods_arguments_and_docstrings_are_those_of_the_protocols(kind: Kind) -> None:
    text = told(kind)
    for protocol in CONTRACTS[kind].values():
        cls = getattr(contracts, protocol)
        methods = {n: f for n, f in vars(cls).items() if inspect.isfunction(f) and not n.startswith("_")}
        assert methods
        for name, function in methods.items():
            signature = inspect.signature(function)
            shown = ", ".join(f"{p.name}: {p.annotation}" for p in signature.parameters.values() if p.name != "self")
            assert f"    {name}({shown}) -> {signature.return_annotation}\n" in text
            for line in (inspect.getdoc(function) or "").splitlines():
                assert line in text


def test_all_is_the_kinds_one_after_the_other() -> None:
    rules, *_ = told("attack").split("\n\n")
    kinds = [told(kind).removeprefix(f"{rules}\n\n").rstrip() for kind in Kind]
    assert told() == "\n\n".join([rules, *kinds]) + "\n"
    assert "float32 in [0, 1]" in rules


@pytest.mark.parametrize("act", Act)
def test_an_act_is_shown_alone(act: Act) -> None:
    text = told(act)
    assert f"\n  {act}\n" in text
    assert not [other for other in Act if other != act and f"\n  {other}\n" in text]


def test_the_types_that_are_named_can_be_asked_for() -> None:
    modules = (contracts, data, model, threat, training)
    named = {
        name for kind in Kind for types in re.findall(r"types: (.*) \(each", told(kind)) for name in types.split(", ")
    }
    assert {"Context", "Aux", "MeteredModel", "Guard", "Evidence", "Certificate", "ThreatModel", "Recipe"} <= named
    for name in named:
        (cls,) = {getattr(module, name) for module in modules if hasattr(module, name)}
        text = told(name)
        assert text.startswith(name)
        assert all(line.strip() in text for line in (inspect.getdoc(cls) or "").splitlines())


def test_every_public_class_is_found() -> None:
    defined = {
        name
        for module in (contracts, data, model, threat, training)
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_")
    }
    assert set(public_classes()) == defined


def test_attributes_and_properties_are_shown() -> None:
    assert "\n  rng: np.random.Generator\n" in told("Context")
    assert "\n  clients: int\n" in "\n" + "\n".join(line[2:] for line in told("fit rounds").splitlines())
    assert "\n  GRADIENTS = 'gradients'\n" in told("Access")


@pytest.mark.parametrize(("word", "near"), [("pertrub", "perturb"), ("atack", "attack"), ("Contxt", "Context")])
def test_a_near_miss_is_named(word: str, near: str) -> None:
    with pytest.raises(BadInput, match=f"there is no kind, act or class '{word}'; did you mean '{near}'"):
        told(word)
