"""Discovery through real distributions: what joins, what becomes a named problem, and what a selector resolves to."""

from __future__ import annotations

import logging

import pytest

from sparring.catalogue import discover
from sparring.cell import Cell, Selection
from sparring.errors import BadInput
from sparring.plugin import Kind
from sparring.threat import Goal, Norm, ThreatModel

ONE_DATASET = """
    from dataclasses import dataclass
    from sparring.hookspecs import hookimpl
    from sparring.plugin import DatasetSpec, NoParams

    {before}

    @hookimpl
    def sparring_datasets():
        {body}
"""


def one_dataset(body='return [DatasetSpec(name="tiny", summary="Tiny.", load=dict)]', before=""):
    return ONE_DATASET.format(body=body, before=before)


@pytest.fixture
def only(install, monkeypatch):
    """`only(name, source, ...)` installs a distribution, and lets no other join in."""
    allowed = []

    def _only(name, source, **more):
        install(name, source, **more)
        allowed.append(name)
        monkeypatch.setenv("SPARRING_PLUGINS", ",".join(allowed))

    return _only


def messages(catalogue):
    return [str(problem) for problem in catalogue.problems]


def test_an_installed_distribution_joins_in(only):
    only("sparring-tiny", one_dataset(), version="3.2")
    catalogue = discover()
    assert messages(catalogue) == []
    assert list(catalogue.specs(Kind.DATASET)) == ["tiny"]
    entry = catalogue.entry(Kind.DATASET, "tiny")
    assert (entry.distribution, entry.version, entry.entry_point) == ("sparring-tiny", "3.2", "plugins")
    assert entry.spec is catalogue.dataset("tiny")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_at_all", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_at"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("x = 1", "sparring_odd implements no hook of sparring"),
        (one_dataset("raise RuntimeError('no licence')"), "sparring_datasets failed: RuntimeError: no licence"),
        (one_dataset("return DatasetSpec(name='a', summary='A.', load=dict)"), "sparring_datasets failed: TypeError"),
        (one_dataset("return ['mnist']"), "'mnist' is a str; the hook returns DatasetSpec"),
        (
            one_dataset("return [DatasetSpec(name='My Set', summary='A.', load=dict)]"),
            "dataset 'My Set': a name is lower",
        ),
        (
            one_dataset("return [DatasetSpec(name='victim', summary='A.', load=dict)]"),
            "dataset 'victim': a name is lower",
        ),
        (one_dataset("return [DatasetSpec(name='a', summary=' ', load=dict)]"), "dataset 'a': the summary is empty"),
        (one_dataset("return [DatasetSpec(name='a', summary='A.', load=3)]"), "dataset 'a': load is not callable"),
        (
            one_dataset("return [DatasetSpec(name='a', summary='A.', load=dict, params=int)]"),
            "params is not a dataclass",
        ),
        (
            one_dataset().replace("sparring_datasets", "sparring_dataset"),
            "there is no hook 'sparring_dataset'; did you mean 'sparring_datasets'?",
        ),
        (
            one_dataset().replace("@hookimpl", ""),
            "sparring_datasets is not marked with @hookimpl, so it is never called",
        ),
        (
            one_dataset().replace("def sparring_datasets()", "def sparring_datasets(seed)"),
            "sparring_datasets",
        ),
    ],
)
def test_a_broken_plugin_is_a_problem_that_names_it_and_the_rest_go_on(only, source, message):
    only("sparring-odd", source, version="0.9")
    only("sparring-tiny", one_dataset())
    catalogue = discover()
    assert len(catalogue.problems) == 1
    assert str(catalogue.problems[0]).startswith("sparring-odd 0.9 (plugins): ")
    assert message in catalogue.problems[0].message
    assert list(catalogue.specs(Kind.DATASET)) == ["tiny"]


@pytest.mark.parametrize(
    ("decorator", "field", "message"),
    [
        ("dataclass(kw_only=True)", "a: int = 1", "params is not frozen"),
        ("dataclass(frozen=True)", "a: int = 1", "params is not keyword-only"),
        ("dataclass(frozen=True, kw_only=True)", "a: int", "every parameter has a default; a has none"),
        ("dataclass(frozen=True, kw_only=True)", "a: dict = None", "parameter 'a' is a dict, which cannot be written"),
        (
            "dataclass(frozen=True, kw_only=True)",
            "a: 'Gone' = 1",
            "the annotations of params cannot be read (NameError",
        ),
        ("dataclass(frozen=True, kw_only=True)", "a: int = 0.5", "a expects a whole number, not 0.5"),
    ],
)
def test_params_are_a_frozen_keyword_only_dataclass_with_good_defaults(only, decorator, field, message):
    before = f"@{decorator}\n    class Params:\n        {field}\n"
    body = "return [DatasetSpec(name='a', summary='A.', load=dict, params=Params)]"
    only("sparring-odd", one_dataset(body, before))
    catalogue = discover()
    assert [message in problem.message for problem in catalogue.problems] == [True]
    assert not catalogue.specs(Kind.DATASET)


ATTACK = """
    from dataclasses import dataclass
    from sparring.cell import Selection
    from sparring.hookspecs import hookimpl
    from sparring.plugin import Act, AttackSpec, Kind, param, reference
    from sparring.threat import Access, Goal, ThreatModel, When

    @dataclass(frozen=True, kw_only=True)
    class Params:
        {field}

    @hookimpl
    def sparring_attacks():
        common = dict(name="a", summary="A.", load=dict, params=Params, when=When.INFERENCE)
        yield AttackSpec(**{{**common, "acts": frozenset({{Act.PERTURB}}), "goals": (Goal.EVASION,), {more}}})
"""


@pytest.mark.parametrize(
    ("field", "more", "message"),
    [
        ("eps: float = param(1.0, '')", "", "parameter 'eps' has the name of a threat field"),
        ("norm: str = param('l2', '')", "", "parameter 'norm' has the name of a threat field"),
        ("a: int = 1", "'threat': ThreatModel(epsilon=0.1)", "threat states epsilon, which reads does not name"),
        ("a: int = 1", "'acts': frozenset({Act.FIT})", "acts is not a frozenset out of"),
        ("a: int = 1", "'goals': ()", "goals is empty"),
        ("a: int = 1", "'needs': frozenset({'gradients'})", "needs and offers are frozensets of Access"),
        ("a: int = 1", "'surrogates': ('a',)", "surrogates names 'a', which is no parameter that refers to a victim"),
        ("a: int = 1", "'reads': frozenset({'eps'})", "reads unknown threat fields: eps"),
    ],
)
def test_declarations_of_attacks_are_consistent(only, field, more, message):
    only("sparring-odd", ATTACK.format(field=field, more=more))
    assert [message in problem.message for problem in discover().problems] == [True]


def test_two_plugins_of_one_name_are_a_problem_and_cannot_be_used(only):
    only("sparring-tiny", one_dataset(), version="1.0")
    only("sparring-other", one_dataset(), version="2.0")
    catalogue = discover()
    expected = "two plugins are called dataset 'tiny': sparring-other 2.0 (plugins) and sparring-tiny 1.0 (plugins)"
    assert [expected in message for message in messages(catalogue)] == [True]
    assert "tiny" not in catalogue.specs(Kind.DATASET)
    with pytest.raises(BadInput, match=r"sparring-other 2.0 .* and sparring-tiny 1.0"):
        catalogue.resolve(Kind.DATASET, "tiny")


def test_the_allow_list_takes_distributions_and_entry_points(install, monkeypatch):
    install("sparring-tiny", one_dataset(), entry_points={"small": "sparring_tiny"})
    install("sparring-broken", "raise RuntimeError")
    for allowed in ("sparring_tiny", "Sparring-Tiny", "small"):
        monkeypatch.setenv("SPARRING_PLUGINS", allowed)
        assert list(discover().specs(Kind.DATASET)) == ["tiny"]
        assert discover().problems == ()
    monkeypatch.setenv("SPARRING_PLUGINS", "")
    assert not discover().specs(Kind.DATASET)
    monkeypatch.setenv("SPARRING_PLUGINS", "sparring-tiny,sparring-gone")
    assert messages(discover()) == [
        "sparring-gone (SPARRING_PLUGINS): SPARRING_PLUGINS names 'sparring-gone', which is not installed;"
        " did you mean 'sparring-broken'?"
    ]
    monkeypatch.delenv("SPARRING_PLUGINS")
    assert "tiny" in discover().specs(Kind.DATASET)
    assert any(problem.distribution == "sparring-broken" for problem in discover().problems)


def test_a_missing_extra_says_what_to_install(only):
    body = "return [DatasetSpec(name='big', summary='Big.', load=dict, extra='big')]"
    only("sparring-big", one_dataset(body), requires=['no-such-package>=1; extra == "big"', "click"])
    with pytest.raises(
        BadInput, match=r"^big needs packages that are not installed; pip install 'sparring-big\[big\]'$"
    ):
        discover().default(Kind.DATASET, "big")
    only("sparring-small", one_dataset(body.replace("'big'", "'small'")), requires=['click>=1; extra == "small"'])
    assert discover().default(Kind.DATASET, "small").name == "small"


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        (Kind.ATTACK, "pdg", "there is no attack 'pdg'; did you mean 'pgd'?"),
        (Kind.DATASET, "pgd", "there is no dataset 'pgd'"),
        (Kind.DEFENCE, "squeeze[bitts=3]", "squeeze has no parameter 'bitts'; did you mean 'bits'?"),
        (Kind.DEFENCE, "squeeze[bits=9]", "squeeze: bits must be at most 8, not 9"),
        (
            Kind.DEFENCE,
            {"squeeze": 3},
            "expected a defence as 'name', 'name[param=value]' or 'name: {param: value}', not",
        ),
        (Kind.ATTACK, "transfer[surrogate=cnnn]", "there is no victim 'cnnn'; did you mean 'cnn'?"),
        (
            Kind.ATTACK,
            "transfer[attack=pgd[eps=0.1]]",
            "pgd: eps belongs to the threat model; state it beside the outermost attack",
        ),
    ],
)
def test_what_cannot_be_resolved(zoo, kind, raw, message):
    with pytest.raises(BadInput) as caught:
        zoo.resolve(kind, raw)
    assert caught.value.message.startswith(message)


def test_selectors_and_mappings_resolve_alike_and_sweep(zoo):
    by_text = zoo.resolve(Kind.ATTACK, "pgd[steps=[1,2],backend=slow]")
    assert by_text == zoo.resolve(Kind.ATTACK, {"pgd": {"steps": [1, 2], "backend": "slow"}})
    assert [str(selection) for selection in by_text] == ["pgd[steps=1,backend=slow]", "pgd[steps=2,backend=slow]"]
    assert zoo.resolve(Kind.ATTACK, by_text[0]) == by_text[:1]
    assert zoo.resolve(Kind.ATTACK, {"pgd": None}) == (zoo.default(Kind.ATTACK, "pgd"),)


def test_references_resolve_to_selections(zoo):
    (transfer,) = zoo.resolve(Kind.ATTACK, "transfer[attack=pgd[steps=10]]")
    assert str(transfer) == "transfer[attack=pgd[steps=10]]"
    assert transfer.params.surrogate == zoo.default(Kind.VICTIM, "cnn")
    own = zoo.resolve(Kind.ATTACK, "transfer[surrogate=victim]")[0]
    assert own.params.surrogate == Selection("victim")
    assert len(zoo.resolve(Kind.ATTACK, "transfer[surrogate=[cnn,random-forest]]")) == 2


def test_threat_fields_are_lifted_out_of_an_attack(zoo):
    ((selection, threat),) = zoo.resolve_attack("pgd[eps=8/255,norm=l2,goal=targeted,steps=20,adaptive=true]")
    assert str(selection) == "pgd[steps=20]"
    assert threat == ThreatModel(epsilon=8 / 255, norm=Norm.L2, goal=Goal.TARGETED, adaptive=True)
    swept = zoo.resolve_attack({"pgd": {"eps": [0.1, 0.2], "steps": [1, 2]}})
    assert [(t.epsilon, s.params.steps) for s, t in swept] == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("pgd[epz=0.3]", "pgd has no parameter 'epz'; did you mean 'eps'?"),
        ("pgd[eps=0.3,epsilon=0.1]", "pgd: epsilon is set twice"),
        ("pgd[eps=-1]", "pgd: epsilon must be at least 0, not -1"),
        ("pgd[eps=big]", "pgd: epsilon expects a number, not 'big'"),
        ("pgd[norm=l3]", "pgd: norm expects one of linf, l2, l0, not 'l3'"),
        ("pgd[fraction=0.1]", "pgd does not read poison_fraction; it reads adaptive, epsilon, goal, norm"),
        ("label-flip[fraction=1.5]", "label-flip: poison_fraction must be at most 1, not 1.5"),
        ("label-flip[adaptive=true]", "label-flip does not read adaptive; it reads poison_fraction"),
        ("none[eps=1]", "none does not read epsilon; it reads no threat field"),
        ("square[queries=0]", "square: query_budget must be at least 1, not 0"),
        ("carlini-wagner[budget=minimal,eps=1]", "carlini-wagner: a minimal budget has no epsilon"),
    ],
)
def test_threat_fields_that_cannot_stand_there(zoo, raw, message):
    with pytest.raises(BadInput) as caught:
        zoo.resolve_attack(raw)
    assert caught.value.message == message


def test_load_runs_the_factory_with_the_params(zoo):
    selection = zoo.resolve(Kind.DEFENCE, "squeeze[bits=2]")[0]
    assert zoo.load(Kind.DEFENCE, selection) == ("loaded", selection.params)
    assert zoo.load(Kind.DEFENCE, Selection("squeeze")) == ("loaded", zoo.default(Kind.DEFENCE, "squeeze").params)


LISTENER = """
    from pathlib import Path
    from sparring.hookspecs import hookimpl

    @hookimpl
    def sparring_cell_finished(cell, outcome):
        Path(__file__).with_suffix(".seen").write_text(f"{cell.id} {outcome}")

    @hookimpl
    def sparring_objections(cell):
        return ["it is too easy"]
"""
RAISES = """
    from sparring.hookspecs import hookimpl

    @hookimpl
    def sparring_cell_finished(cell):
        raise RuntimeError("disk full")

    @hookimpl
    def sparring_objections(cell):
        raise RuntimeError("no idea")
"""


def test_hooks_per_cell_are_called_and_one_that_raises_is_only_logged(only, install, caplog):
    only("a-raises", RAISES)
    only("b-listens", LISTENER)
    catalogue = discover()
    nothing = Selection("x")
    cell = Cell(dataset=nothing, victim=nothing, attack=nothing, defence=nothing, threat=ThreatModel(), repetition=0)
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert catalogue.objections(cell) == ["it is too easy"]
        catalogue.cell_finished(cell, "done")  # any outcome is handed on as it is
    assert [record.getMessage() for record in caplog.records] == [
        "a-raises 1.0 (plugins): sparring_objections failed for x/x/x/x/r0 (RuntimeError: no idea)",
        "a-raises 1.0 (plugins): sparring_cell_finished failed for x/x/x/x/r0 (RuntimeError: disk full)",
    ]
    from pathlib import Path

    import b_listens

    assert Path(b_listens.__file__).with_suffix(".seen").read_text() == "x/x/x/x/r0 done"


def test_who_reads_epsilon_reads_its_norm():
    """Else the cell would have no norm, and the attack would not be held to its epsilon."""
    from sparring.plugin import Act, AttackSpec
    from sparring.threat import Goal, Norm, When

    spec = AttackSpec(
        name="bounded",
        summary="Reads epsilon and does not speak of the norm.",
        load=object,
        when=When.INFERENCE,
        acts=frozenset({Act.PERTURB}),
        goals=(Goal.EVASION,),
        norms=(Norm.L2,),
        reads=frozenset({"epsilon"}),
    )
    assert spec.reads == {"epsilon", "norm"}
