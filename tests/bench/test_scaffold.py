"""`sparring new`: what it writes is legal, tidy and works; what it refuses, it refuses in one sentence."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from boards import metrics, planned
from sparring.catalogue import discover
from sparring.cli.new import command
from sparring.declarations import faults, is_name
from sparring.discovery import HOOK_OF_KIND
from sparring.errors import BadInput
from sparring.plugin import Kind
from sparring.scaffold import NewPlugin

REPOSITORY = Path(__file__).parents[2]
Install = Callable[..., Path]


def new(*arguments: str) -> None:
    command.main([*arguments], standalone_mode=False)


def written(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", Kind)
def test_a_distribution_is_complete(kind: Kind, here: Path) -> None:
    new(kind, "grey-cat")
    files = written(here / "sparring-grey-cat")
    assert list(files) == [
        ".github/workflows/test.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/sparring_grey_cat.py",
        "tests/test_conformance.py",
    ]
    assert not [path for path, text in files.items() if any(mark in text for mark in ("{{", "}}", "{%", "%}"))]
    assert all(text.endswith("\n") and not text.endswith("\n\n") for text in files.values())

    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == "sparring-grey-cat"
    assert project["project"]["entry-points"]["sparring"] == {"grey-cat": "sparring_grey_cat"}
    assert list(project["project"]["optional-dependencies"]) == ["test"]
    steps = yaml.safe_load(files[".github/workflows/test.yml"])["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["pip install -e '.[test]'", "pytest"]
    assert 'distribution="sparring-grey-cat"' in files["tests/test_conformance.py"]


@pytest.mark.parametrize("kind", Kind)
def test_the_last_words_are_the_next_commands(kind: Kind, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new(kind, "grey-cat", "--folder", "some where/cat")
    *_, install, trial = (line.strip() for line in capsys.readouterr().out.splitlines())
    assert install == "cd 'some where/cat' && pip install -e '.[test]' && pytest"
    assert trial.startswith("sparring run --dataset ")
    assert kind is Kind.METRIC or f" --{kind} grey-cat" in trial
    assert f"    {trial}\n" in written(here / "some where/cat")["README.md"]


def test_an_attack_is_tried_as_the_documentation_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new("attack", "my-attack")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "    cd sparring-my-attack && pip install -e '.[test]' && pytest",
        "    sparring run --dataset digits --victim cnn --attack my-attack --defence none",
    ]


def test_what_is_written_is_clean_by_our_own_rules(here: Path) -> None:
    """As its author sees it: there, sparring is a third party."""
    for kind in Kind:
        new(kind, f"grey-{kind}")
    rules = ["--no-cache", "--config", str(REPOSITORY / "pyproject.toml"), "."]
    for task in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *task, *rules], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def imported(plugin: NewPlugin) -> Iterator[ModuleType]:
    """The plugin's module, out of its text."""
    source = plugin.files()[f"src/{plugin.module}.py"]
    module = ModuleType(plugin.module)
    sys.modules[plugin.module] = module
    try:
        exec(compile(source, plugin.module, "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[plugin.module]


AWKWARD = ["none", "params", "attack-spec", "nearest-mean", "value-error", "import", "x", "a-1-b2", "my-attack"]
legal_names = st.sampled_from(AWKWARD) | st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True)


@settings(max_examples=50)
@given(kind=st.sampled_from(Kind), name=legal_names.filter(is_name))
def test_any_legal_name_gives_a_legal_plugin(kind: Kind, name: str) -> None:
    with imported(NewPlugin(kind, name)) as module:
        (spec,) = getattr(module, HOOK_OF_KIND[kind])()
        assert faults(spec, kind) == []
        assert spec.name == name
        assert type(spec.load(spec.params())).__module__ == module.__name__
        classes = [node.name for node in ast.walk(ast.parse(module_text(kind, name))) if isinstance(node, ast.ClassDef)]
        assert len(set(classes)) == len(classes)


def module_text(kind: Kind, name: str) -> str:
    plugin = NewPlugin(kind, name)
    return plugin.files()[f"src/{plugin.module}.py"]


@pytest.mark.parametrize(
    ("kind", "name", "class_name"),
    [
        (Kind.ATTACK, "my-attack", "MyAttack"),
        (Kind.ATTACK, "l2-pgd", "L2Pgd"),
        (Kind.ATTACK, "params", "ParamsAttack"),
        (Kind.VICTIM, "none", "NoneVictim"),
        (Kind.VICTIM, "nearest-mean", "NearestMeanVictim"),
    ],
)
def test_the_class_has_the_plugin_s_name_where_that_is_free(kind: Kind, name: str, class_name: str) -> None:
    assert f"\nclass {class_name}:\n" in module_text(kind, name)


def test_the_methods_work(install: Install, tmp_path: Path) -> None:
    """All five in one board, on their own data set, through discovery."""
    for kind in Kind:
        install(f"sparring-grey-{kind}", module_text(kind, f"grey-{kind}"))
    catalogue = discover()
    assert not [problem for problem in catalogue.problems if "grey" in problem.distribution]
    drawn = planned(["grey-dataset"], ["grey-victim"], catalogue=catalogue)
    (accuracy,) = (m["clean-accuracy"] for m in metrics(drawn, tmp_path / "store").values())
    assert accuracy > 0.95

    attacks = ["grey-attack[eps=0]", "grey-attack[eps=0.3,queries=3]", "grey-attack[eps=0.3]"]
    crossed = planned(
        ["digits[limit_test=100]"], ["grey-victim"], attacks, ["none", "grey-defence"], catalogue=catalogue
    )
    found = {name.partition("/grey-victim/")[2]: m for name, m in metrics(crossed, tmp_path / "store").items()}
    assert len(found) == 3 + 3 * 2  # behind a guard: unaware of it, and aware
    untouched, few, many = (
        found[f"grey-attack[{threat}]/none/r0"] for threat in ("epsilon=0", "epsilon=0.3,query_budget=3", "epsilon=0.3")
    )
    assert untouched["robust-accuracy"] > 0.8
    assert untouched["budget-linf-max"] == 0
    assert many["budget-linf-max"] == pytest.approx(0.3, abs=1e-6)
    assert many["robust-accuracy"] < few["robust-accuracy"] < untouched["robust-accuracy"]
    assert few["forward-queries"] <= 3 < many["forward-queries"] <= 10
    assert many["grey-metric"] < many["robust-accuracy"]
    guarded = {m["clean-accuracy"] for name, m in found.items() if "grey-defence" in name}
    assert guarded != {untouched["clean-accuracy"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zebra", "x"], "there is no kind 'zebra'; there are dataset, victim, attack, defence, metric"),
        (["defense", "x"], "there is no kind 'defense'; did you mean 'defence'?"),
        (["attack", "My-Attack"], "no plugin can be called 'My-Attack': a name is lower-case words joined by hyphens"),
        (["attack", "../x"], "no plugin can be called '../x': a name is"),
        (["attack", "victim"], "no plugin can be called 'victim': a name is"),
        (["attack", "pgd"], "there is an attack 'pgd' already, in sparring "),
        (["dataset", "digits"], "there is a dataset 'digits' already, in sparring "),
        (["attack", "defences"], "the module sparring_defences is installed already; choose another name"),
        (["attack", "x", "--folder", "there"], "there exists already; name a folder that does not with --folder"),
        (["attack", "x", "--folder", "file/x"], "file/x cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(arguments: list[str], message: str, here: Path) -> None:
    (here / "there").mkdir()
    (here / "file").touch()
    with pytest.raises(BadInput) as refused:
        new(*arguments)
    assert str(refused.value).startswith(message)
    assert sorted(path.name for path in here.iterdir()) == ["file", "there"]
    assert not list((here / "there").iterdir())


def test_a_name_that_another_distribution_has_is_refused(here: Path, install: Install) -> None:
    install("some-cats", module_text(Kind.ATTACK, "grey-cat"), version="2.5")
    with pytest.raises(BadInput, match="there is an attack 'grey-cat' already, in some-cats 2"):
        new("attack", "grey-cat")
    new("defence", "grey-cat")  # names are unique within a kind
