"""What `leaderboard check` finds: each fault alone, on a board that was sound."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sparring.cli.main import commands

SUITE = """
title: A small board
datasets: ['digits[limit_train=60,limit_test=40]']
victims: [random-forest]
attacks: [none, label-flip, {random-pixel: {intensity: 1.0}}]
defences: [none]
evaluation: {keep: [state]}
"""


def sparring(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "board").mkdir()
    (home / "board" / "suite.yaml").write_text(SUITE)
    told = sparring("run", str(home / "board"), "--engine", "serial", "--cache", str(home / "cache"))
    assert told.exit_code == 0, told.output
    return home / "board"


@pytest.fixture
def board(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "board"))


def lines(board: Path) -> list[bytes]:
    return (board / "results" / "cells.jsonl").read_bytes().splitlines(keepends=True)


def write(board: Path, *content: bytes) -> None:
    (board / "results" / "cells.jsonl").write_bytes(b"".join(content))


def say_otherwise(board: Path) -> None:
    (board / "README.md").write_text("# All is well\n")


def remove_page(board: Path) -> None:
    (board / "index.html").unlink()


def break_a_line(board: Path) -> None:
    first, *rest = lines(board)
    write(board, first[:50] + b"\n", *rest)


def say_twice(board: Path) -> None:
    first, *rest = lines(board)
    other = json.loads(first)
    other["key"] = "0" * 64
    write(board, json.dumps(other).encode() + b"\n", first, *rest)


def lose_a_cell(board: Path) -> None:
    write(board, *lines(board)[1:])


def lose_a_file(board: Path) -> None:
    next((board / "results" / "media").iterdir()).unlink()


def change_a_file(board: Path) -> None:
    path = next((board / "results" / "media").iterdir())
    path.write_bytes(path.read_bytes() + b"x")


def ask_for_something_else(board: Path) -> None:
    (board / "suite.yaml").write_text(SUITE.replace("datasets:", "seed: 5\ndatasets:"))


def ask_for_less(board: Path) -> None:
    (board / "suite.yaml").write_text(SUITE.replace("label-flip, ", ""))


def name_an_unknown_plugin(board: Path) -> None:
    (board / "suite.yaml").write_text(SUITE.replace("label-flip, ", "label-flop, "))


def test_a_board_as_it_was_run_is_sound(board: Path) -> None:
    told = sparring("leaderboard", "check", str(board))
    assert told.exit_code == 0
    assert told.output == f"{board}: sound\n"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (say_otherwise, "README.md does not say what the records say"),
        (remove_page, "index.html is not there"),
        (break_a_line, "cells.jsonl:1: "),
        (say_twice, "results/cells.jsonl has several records of digits"),
        (lose_a_cell, "2 of 3 cells have a number or a reason, 66.7%, and the suite asks for 100.0%"),
        (lose_a_file, "which a record names, is not there"),
        (change_a_file, "is not what its name says"),
        (ask_for_something_else, "3 cells were recorded with other code, parameters, data or seeds"),
        (ask_for_less, "1 cell was recorded that the suite does not have"),
        (name_an_unknown_plugin, "what the suite asks for cannot be told"),
    ],
)
def test_every_fault_is_named(board: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(board)
    told = sparring("leaderboard", "check", str(board))
    assert told.exit_code == 1
    assert said in told.output
    assert "Traceback" not in told.output


def test_records_of_another_suite_are_sound_while_their_content_is_what_is_planned(board: Path) -> None:
    """A board that was recorded before its suite got a longer time limit, or another attack: no number depends on it,
    so nothing is computed again, and the other digest is said and is no fault."""
    (board / "suite.yaml").write_text(f"limits: {{seconds: 1234}}\n{SUITE}")
    told = sparring("leaderboard", "check", str(board))
    assert told.exit_code == 0, told.output
    assert f"{board}: sound\n  (3 of 3 applicable cells were recorded for a suite of another digest" in told.output


def test_records_of_other_content_fail_and_are_named(board: Path) -> None:
    (board / "suite.yaml").write_text(SUITE.replace("{intensity: 1.0}", "{intensity: 0.9}"))
    told = sparring("leaderboard", "check", str(board))
    assert told.exit_code == 1
    assert "1 cell was recorded that the suite does not have: digits" in told.output
    assert "random-pixel" in told.output
    (board / "suite.yaml").write_text(f"splits: {{defender_clean: 10}}\n{SUITE}")
    told = sparring("leaderboard", "check", str(board))
    assert told.exit_code == 1
    assert "3 cells were recorded with other code, parameters, data or seeds than the suite's: digits" in told.output
    assert "of another digest" not in told.output, "they are not the numbers that are planned"


def test_a_number_of_a_cell_that_makes_no_sense_is_a_fault(made: Path, board: Path) -> None:
    (board / "suite.yaml").write_text(SUITE.replace("[none, ", "[none, fgsm, "))
    assert sparring("run", str(board), "--engine", "serial", "--cache", str(made.parent / "cache")).exit_code == 0
    assert sparring("leaderboard", "check", str(board)).exit_code == 0
    told = [json.loads(line) for line in lines(board)]
    number = next(line["outcome"] for line in told if line["outcome"]["state"] == "scored")
    for line in told:
        line["outcome"] = number if "/fgsm" in line["cell"]["id"] else line["outcome"]
    write(board, *(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" for line in told))
    said = sparring("leaderboard", "check", str(board))
    assert said.exit_code == 1
    assert "1 cell was recorded with a number that the suite's plugins object to: digits" in said.output


def test_an_index_that_is_stale_is_named(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(board.parent)
    Path("leaderboards").mkdir()
    shutil.copytree(board, "leaderboards/board")
    assert "leaderboards: sound" in sparring("leaderboard", "check").output, "there need not be one"
    assert sparring("leaderboard", "index").exit_code == 0
    assert sparring("leaderboard", "check").exit_code == 0
    index = Path("leaderboards/README.md")
    index.write_text(index.read_text().replace("Computed on", "Computed for fun on"))
    told = sparring("leaderboard", "check")
    assert told.exit_code == 1
    assert "leaderboards: 1 problem\n  README.md does not say what the boards say" in told.output


def test_a_suite_may_ask_for_less_than_all(board: Path) -> None:
    lose_a_cell(board)
    (board / "suite.yaml").write_text(f"coverage: 0.6\n{SUITE}")
    assert sparring("leaderboard", "render", str(board)).exit_code == 0
    assert sparring("leaderboard", "check", str(board)).exit_code == 0


def test_numbers_that_got_worse_fail_against_what_was(made: Path, board: Path) -> None:
    assert sparring("leaderboard", "check", str(board), "--against", str(made)).exit_code == 0
    changed = []
    for line in map(json.loads, lines(board)):
        line["outcome"]["metrics"]["clean-accuracy"] = 0.0
        changed.append(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    write(board, *changed)
    assert sparring("leaderboard", "render", str(board)).exit_code == 0
    told = sparring("leaderboard", "check", str(board), "--against", str(made))
    assert told.exit_code == 1
    assert "3 numbers are worse or lost" in told.output


def test_the_committed_boards_are_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their records are of the code and the suites that are here, and what is rendered says what they say."""
    monkeypatch.chdir(Path(__file__).parents[2])
    told = sparring("leaderboard", "check")
    assert told.exit_code == 0, told.output
    assert told.output.count(": sound") >= 4


def test_a_board_renders_to_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """The order of sets differs from process to process: a rendering must not depend on it."""
    committed = Path(__file__).parents[2] / "leaderboards" / "robust-features"
    board = Path(shutil.copytree(committed, tmp_path / committed.name))
    command = [sys.executable, "-c", "from sparring.cli.main import main; main()", "leaderboard", "render", str(board)]
    made = set()
    for seed in ("1", "2", "3"):
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})
        made.add((board / "README.md").read_bytes() + (board / "index.html").read_bytes())
    assert len(made) == 1


def test_prune_drops_what_the_suite_does_not_have_and_nothing_else(board: Path) -> None:
    everything = lines(board)
    ask_for_less(board)
    told = sparring("leaderboard", "prune", str(board))
    assert (told.exit_code, told.output) == (0, f"1 dropped, {len(everything) - 1} kept\n")
    left = lines(board)
    assert set(left) < set(everything)
    assert sparring("leaderboard", "render", str(board)).exit_code == 0
    assert sparring("leaderboard", "check", str(board)).exit_code == 0
    assert sparring("leaderboard", "prune", str(board)).output == f"0 dropped, {len(left)} kept\n"
