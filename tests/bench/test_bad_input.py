"""What a user gets wrong is answered by one sentence, exit code 2, and a folder in which nothing was written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sparring.cli.main import main

Say = Callable[..., tuple[int, str, str]]
HEAD = "datasets: [digits]\nvictims: [logistic]\nattacks: [none]\n"
GOOD = HEAD + "defences: [none]\n"


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """`say("run", "board")`: exit code, output, errors. An own folder, cache and home; no traceback, ever."""
    for name, value in {"SPARRING_CACHE": "cache", "HOME": "home", "XDG_CACHE_HOME": "home/.cache"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.chdir(tmp_path)

    def _say(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sparring", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return _say


def board(text: str | bytes, folder: str = "board") -> None:
    Path(folder).mkdir()
    (Path(folder) / "suite.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())


def tree() -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(Path().rglob("*"))}


def attack(entry: str) -> str:
    return f"datasets: [digits]\nvictims: [cnn]\ndefences: [none]\nattacks:\n  - {entry}\n"


SUITES: dict[str, tuple[str | bytes, str]] = {
    "unknown plugin": (HEAD + "defences: [jpg]", ":4: defences: there is no defence 'jpg'; did you mean 'jpeg'?"),
    "unknown parameter": (
        attack("pgd: {stepps: 3}"),
        ":5: attacks: pgd has no parameter 'stepps'; did you mean 'steps'",
    ),
    "unknown key": (GOOD + "repetition: 2", ":5: unknown key 'repetition'; did you mean 'repetitions'?"),
    "unknown key within": (GOOD + "limits:\n  secs: 2", ":6: limits: unknown key 'secs'"),
    "unknown metric": (GOOD + "metrics: [asrr]", ":5: metrics: there is no metric 'asrr'; did you mean 'asr'?"),
    "unknown part": (GOOD + "exclude: [{victm: x}]", ":5: exclude: unknown key 'victm'; did you mean 'victim'?"),
    "missing key": (HEAD, ": the key 'defences' is missing"),
    "wrong type": (attack("pgd: {steps: many}"), ":5: attacks: pgd: steps expects a whole number, not 'many'"),
    "wrong type of a key": (GOOD + "seed: soon", ":5: seed should be a valid integer, not 'soon'"),
    "wrong entry": (HEAD + "defences: [3]", ":4: defences: each entry is 'name', 'name[param=value]' or 'name: {"),
    "out of range": (attack("pgd[steps=0]"), ":5: attacks: pgd: steps must be at least 1, not 0"),
    "threat out of range": (attack("pgd: {eps: -0.1}"), ":5: attacks: pgd"),
    "limit out of range": (GOOD + "limits: {seconds: 0}", ":5: limits: seconds should be greater than 0, not 0"),
    "unit": (GOOD + "limits: {memory: 4 Gigs}", "limits: memory should be a number with one of the units B, kB, MB"),
    "not a number": (GOOD + "limits: {seconds: .nan}", ":5: limits: seconds should be a finite number, not nan"),
    "doubled key": (GOOD + "attacks: [none]", ":5: the key 'attacks' stands here a second time"),
    "bad selector": (attack("'pgd[eps=[0.1'"), ":5: attacks: expected ',' or ']' at column 13 of 'pgd[eps=[0.1'"),
    "threat not read": (attack("none: {eps: 0.1}"), ":5: attacks: none"),
    "bad yaml": (HEAD + "defences: [none", ":4: is no YAML: expected ',' or ']'"),
    "tab": (HEAD + "defences:\n\t- none", ":5: is no YAML: found character '\\t'"),
    "two documents": (GOOD + "---\n" + GOOD, "is no YAML: but found another document"),
    "python object": (
        GOOD + "title: !!python/object/apply:os.system ['touch ran']",
        ":5: the tag 'tag:yaml.org,2002:",
    ),
    "empty file": (
        "",
        ": the file is empty; a suite is a mapping with the keys datasets, victims, attacks and defences",
    ),
    "comment only": ("# later\n", ": the file is empty; a suite is a mapping"),
    "a list": ("- digits\n", ":1: this is a list; a suite is a mapping"),
    "a word": ("digits\n", ":1: this is a single value; a suite is a mapping"),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\x00\x80", ": is not a text file in UTF-8"),
    "zeros": (b"\0" * 64, ": is no YAML: special characters are not allowed"),
    "refers to itself": (GOOD + "threats: &a [{x: *a}]", "board/suite.yaml"),
    "empty axis": ("datasets: []\nvictims: [mlp]\nattacks: [none]\ndefences: [none]", ":1: datasets is an empty list"),
    "empty sweep": (attack("pgd: {eps: []}"), ":5: attacks: pgd"),
    "all excluded": (GOOD + "exclude: ['*/none', '*']", ":5: no cell is left to run: '*' leaves out 1"),
    "none applicable": (
        "datasets: [digits]\nvictims: [random-forest, rbf-svm]\nattacks: [pgd, fgsm]\ndefences: [none]",
        "board/suite.yaml: no cell is applicable: pgd needs gradients; random-forest offers decisions, probabilities,"
        " scores (1 of 4); fgsm needs gradients; random-forest offers",
    ),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", list(SUITES))
def test_bad_suite(say: Say, command: str, case: str) -> None:
    text, sentence = SUITES[case]
    board(text)
    before = tree()
    code, out, err = say(command, "board")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith("sparring: board/suite.yaml")
    assert sentence in err
    assert tree() == before


ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "unknown command": (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
    "nothing": (["run"], "name a board (sparring run digits), or give --dataset and --victim"),
    "half a product": (["run", "--dataset", "digits"], "or give --victim"),
    "unknown board": (["run", "digitts"], "there is no board 'digitts'; did you mean 'digits'?"),
    "a folder that is no board": (["run", "empty"], "the folder 'empty' has no suite.yaml"),
    "a file of another name": (
        ["run", "suites/mine.yaml"],
        "a board is a folder with a suite.yaml; move suites/",
    ),
    "board and selectors": (["run", "digits", "--victim", "mlp"], "--victim does not go with a board"),
    "unknown selector": (
        ["run", "--dataset", "digits", "--victim", "ccn"],
        "victims: there is no victim 'ccn'",
    ),
    "empty selector": (["run", "--dataset", "", "--victim", "cnn"], "datasets: expected a name at column 1 of ''"),
    "bad selector": (["run", "--dataset", "digits", "--victim", "cnn[epochs=]"], "expected a value at column 12 of"),
    "out of range": (
        ["run", "--dataset", "digits", "--victim", "cnn[epochs=0]"],
        "cnn: epochs must be at least 1",
    ),
    "none applicable": (
        ["run", "--dataset", "digits", "--victim", "rbf-svm", "--attack", "pgd"],
        "no cell is applicable: pgd needs gradients; rbf-svm offers decisions, scores (1 of 1)",
    ),
    "pattern of nothing": (["run", "digits", "--only", "vgg*"], "no cell matches 'vgg*' (cells look like digits/"),
    "scheduler without dask": (["run", "digits", "--scheduler", "tcp://x"], "--scheduler ADDRESS and --engine dask"),
    "dask without scheduler": (["run", "digits", "--engine", "dask"], "--scheduler ADDRESS and --engine dask"),
    "several cells": (["explain", "digits", "cnn"], "'cnn' matches "),
    "no cell": (["explain", "digits", "vgg"], "no cell matches 'vgg'"),
    "unknown plugin": (["info", "pgdd"], "there is no plugin 'pgdd'; did you mean 'pgd'?"),
    "unknown kind": (["info", "attacks/pgd"], "there is no kind 'attacks'; did you mean 'attack'?"),
    "nothing to render": (["leaderboard", "render", "nowhere"], "there is no board 'nowhere'"),
    "never run": (["leaderboard", "render", "digits"], "has no results yet; 'sparring run digits' makes some"),
    "cache is a file": (["run", "digits", "--cache", "file"], "cannot write to the artifact store in file/artifacts"),
}


@pytest.mark.parametrize("case", list(ARGUMENTS))
def test_bad_arguments(say: Say, case: str) -> None:
    arguments, sentence = ARGUMENTS[case]
    Path("empty").mkdir()
    Path("suites").mkdir()
    Path("suites/mine.yaml").write_text(GOOD)
    Path("file").touch()
    before = tree()
    code, out, err = say(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith("sparring: ")
    assert sentence in err
    assert tree() == before


@pytest.mark.parametrize(
    ("in_the_way", "sentence"),
    [
        ("board/results", "cannot write results in board/results: File exists"),
        ("board/results/.journal.jsonl/", "cannot write results in board/results: Is a directory"),
        ("cache", "cannot write to the artifact store"),
        ("cache/artifacts", "cannot write to the artifact store"),
    ],
)
def test_folders_that_cannot_be_written(say: Say, in_the_way: str, sentence: str) -> None:
    """Permissions do not hold back an administrator; a file where a folder should be does."""
    board(GOOD)
    blocked = Path(in_the_way)
    blocked.parent.mkdir(parents=True, exist_ok=True)
    if in_the_way.endswith("/"):
        blocked.mkdir()
    else:
        blocked.touch()
    code, out, err = say("run", "board", "--engine", "serial")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert sentence in err
    assert not list(Path().rglob("*.safetensors"))
    say("plan", "board")  # reads past it, or says so


def test_a_cache_that_is_a_file_can_be_planned_with(say: Say) -> None:
    Path("cache").touch()
    code, out, _ = say("plan", "digits")
    assert (code, "to run" in out) == (0, True)


def test_foreign_folder_is_not_overwritten(say: Say) -> None:
    board(GOOD, "mine")
    before = tree()
    code, _, err = say("run", "--dataset", "digits", "--victim", "mlp", "--out", "mine", "--engine", "serial")
    assert (code, Path("mine/suite.yaml").read_text()) == (2, GOOD)
    assert "mine/suite.yaml is another board; name a folder of its own with --out" in err
    assert {path for path in tree() if not path.startswith("cache")} == set(before)


RECORDS = "board/results/cells.jsonl"


def a_record(cell: str = "digits/logistic/none/none/r0") -> str:
    dataset, victim, one, defence, repetition = cell.split("/")
    use = {"distribution": "sparring", "version": "0.1.0", "params": {}}
    made = {
        "key": "0" * 64,
        "cell": {
            "id": cell,
            **{
                kind: {"selector": name, "name": name, **use}
                for kind, name in zip(
                    ("dataset", "victim", "attack", "defence"), (dataset, victim, one, defence), strict=True
                )
            },
            "threat": {"goal": "nothing", "when": "never"},
            "when": "never",
            "guarded": False,
            "attack_label": one,
            "defence_label": defence,
            "repetition": int(repetition[1:]),
        },
        "outcome": {
            "state": "scored",
            "metrics": {"clean-accuracy": 0.5},
            "confusion": [[1, 1], [1, 1]],
            "samples": {"indices": "0-3", "clean_correct": "8A==", "attacked_correct": "8A=="},
            "warnings": [],
            "trials": None,
        },
        "provenance": {
            "suite_digest": "1",
            "root_seed": 0,
            "sparring": "0.1.0",
            "python": "3.11",
            "platform": "Linux",
            "cpu": "one",
            "device": "cpu",
            "threads": 1,
        },
    }
    return json.dumps(made)


def test_edited_results_are_named_and_the_good_ones_stay(say: Say) -> None:
    board(GOOD.replace("[logistic]", "[logistic, mlp]"))
    Path(RECORDS).parent.mkdir()
    second = a_record("digits/mlp/none/none/r0")
    Path(RECORDS).write_text(f"{a_record()}\n{second[:200]}\n{second.replace('0.5', '1e999')}\nhello\n{second}")
    before = tree()
    for command in (("plan", "board"), ("leaderboard", "render", "board")):
        code, out, err = say(*command)
        assert code == 0
        for line in (2, 3, 4):
            assert f"results/cells.jsonl:{line}: " in err
        assert len(err.splitlines()) == 3
    assert "2 of 2 cells scored" in out
    assert "3 unreadable lines" in out
    assert {path: tree()[path] for path in before} == before


@pytest.mark.parametrize("seed", range(40))
def test_no_edited_record_breaks_a_command(say: Say, seed: int) -> None:
    """Every value of a good record replaced by something odd: it is refused, or rendered; never more than that."""
    import random

    chance = random.Random(seed)
    odd = [
        None,
        -1,
        10**30,
        0.5,
        "",
        "\u202e\x1b[2J",
        "nan",
        "a" * 5000,
        [],
        {},
        [[1, 2], [3]],
        True,
        "<script>",
        "0-9,3",
    ]
    record = json.loads(a_record())
    for _ in range(chance.randint(1, 3)):
        place = record
        while True:
            key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
                place[key] = chance.choice(odd)
                break
            place = inner
    board(GOOD)
    Path(RECORDS).parent.mkdir()
    Path(RECORDS).write_text(json.dumps(record) + "\n")
    code, out, err = say("leaderboard", "render", "board")
    assert code == 0
    assert "\x1b[2J" not in out + err
    assert "<script>alert" not in Path("board/index.html").read_text()
    assert say("plan", "board")[0] == 0


def test_terminal_without_the_characters_of_a_table(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    board(GOOD)
    Path(RECORDS).parent.mkdir()
    Path(RECORDS).write_text(a_record() + "\n")
    with open(os.devnull, "wb") as nowhere:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(nowhere, encoding="ascii"))
        assert say("leaderboard", "render", "board")[0] == 0
        monkeypatch.undo()
