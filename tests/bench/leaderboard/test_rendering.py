"""README.md, table.csv, the terminal and the board's folder: right, harmless, and the same bytes every time."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from made_records import EVASION, evasion, realistic, record, scored
from sparring.cli.leaderboard import command
from sparring.journal import open_results
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.board import BoardUnwritable, load_board, render_board, write_board
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.table import Board
from sparring.leaderboard.table_csv import table_csv
from sparring.leaderboard.terminal import show
from sparring.leaderboard.wording import percent, plain
from sparring.record import Failed, Record, Warned
from sparring.stage import FailureKind

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b`c`|",
    "=cmd()",
    "</script><!--",
    "x\n\n# y",
    "\u202etxt\x1b[31m",
    "@adaptive",
]


def stored(folder: Path, records: list[Record]) -> Path:
    with open_results(folder) as results:
        for found in records:
            results.append(found)
        results.consolidate()
    return folder


def read_csv(board: Board) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table_csv(board))))


def printed(board: Board, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    show(board, console, [Path("boards/digits/README.md")])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_markdown_has_a_table_with_the_worst_case_last() -> None:
    board = aggregate(
        [
            record("none", "none"),
            record("none", "jpeg"),
            evasion("pgd", "none", 0, True, False),
            evasion("pgd", "jpeg@oblivious", 0, True, True),
            evasion("pgd", "jpeg@adaptive", 0, False, True),
        ],
        title="Digits",
    )
    table = [line for line in markdown(board).splitlines() if line.startswith("|")]
    assert table == [
        "| defence | cnn<br>1 attack |",
        "| :-- | --: |",
        "| `none` | **50.0**<br>clean 90.0 |",
        "| `jpeg` | 50.0<br>clean 90.0 |",
        "| attack | `none` | `jpeg`<br>oblivious | `jpeg`<br>adaptive |",
        "| :-- | --: | --: | --: |",
        "| `none` | 90.0 | 90.0 | ″ |",
        "| `pgd` | 50.0 | 100.0 | 50.0 |",
        "| **worst case** | **50.0** | **50.0** | ″ |",
    ]
    assert "- cnn: **no defence**, level with jpeg" in markdown(board)


def test_markdown_of_a_board_explains_itself_and_stays_short() -> None:
    text = markdown(aggregate(realistic(), title="Digits", problems=["results/cells.jsonl:17: cut off"]))
    assert "**380 of 494 cells scored, 99 not applicable, 9 failed, 6 timed out**" in text
    assert "pgd needs gradients; random-forest offers scores" in text
    assert "masked-gradients" in text
    assert "results/cells.jsonl:17: cut off" in text
    assert "torch: 2.15.0" in text
    assert len(text.splitlines()) < 150
    assert "Not applicable to random-forest: carlini-wagner, fgsm, pgd (need gradients;" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_many_different_errors_do_not_flood_the_page() -> None:
    failures = [
        record(f"a{i}", outcome=Failed(kind=FailureKind.ERROR, stage="fit", error=f"ValueError: {i}"))
        for i in range(200)
    ]
    text = markdown(aggregate(failures))
    assert text.count("ValueError") == 15
    assert "and 185 more, in `index.html`" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_inside_their_markdown_cell(name: str) -> None:
    outcome = scored({"clean-accuracy": 0.5, name: 1.0}, warnings=[Warned(id=name, message=name)])
    records = [
        record(name, name, outcome=outcome, dataset=name, victim=name),
        record("x", "none", outcome=Failed(kind=FailureKind.ERROR, stage=name, error=name), dataset=name, victim=name),
    ]
    text = markdown(
        aggregate(records, metrics={name: (name, name, name)}, title=name, description=name, problems=[name])
    )
    outside_code = re.sub(r"`[^`\n]*`", "", text)
    assert "<script" not in outside_code
    assert "<!--" not in outside_code
    assert "\n# y" not in text[2:]
    assert "\x1b" not in text
    assert "\u202e" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            columns = len(re.findall(r"(?<!\\)\|", line)) - 1
            assert columns in (3, 4)  # the board's table; the table of metrics


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_run_nothing_in_a_spreadsheet(name: str) -> None:
    board = aggregate([record(name, outcome=scored({name: -0.5}), threat={"knowledge": name})])
    (line,) = read_csv(board)
    for text in (*line, *line.values()):
        assert not text.lstrip().startswith(("=", "+", "@"))
    assert line["attack"].removeprefix("'") == name
    assert "-0.5" in line.values()  # a negative number stays one


def test_csv_has_every_metric_with_mean_deviation_and_count() -> None:
    found = read_csv(aggregate(realistic()))
    line = next(
        row
        for row in found
        if row["attack"] == "fgsm[epsilon=0.1]" and row["defence"] == "none" and row["victim"] == "mlp"
    )
    assert (line["expected"], line["scored"], line["not_run"]) == ("2", "2", "0")
    assert (line["norm"], line["epsilon"], line["when"]) == ("linf", "0.1", "inference")
    assert 0 < float(line["robust-accuracy mean"]) < 1
    assert line["robust-accuracy n"] == "2"
    assert line["asr mean"] == ""
    worst = [row for row in found if row["row"] == "worst case" and row["victim"] == "cnn"]
    bases = ["none", "activation-clustering", "adversarial-training[epsilon=0.1]", "feature-squeezing[bits=3]", "jpeg"]
    assert [row["defence"] for row in worst] == bases


@pytest.mark.parametrize("width", [80, 100, 120])
def test_terminal_tables_fit_and_show_the_worst_case(width: int) -> None:
    text = printed(aggregate(realistic()), width)
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= width
    assert "worst case" in text
    assert "Written: boards/digits/README.md" in text
    assert "380 of 494 cells scored" in " ".join(text.split())


def test_terminal_shows_short_labels_on_one_line_and_says_once_what_makes_no_sense() -> None:
    text = printed(aggregate(realistic()), 120)
    assert "pgd[eps=0.1,steps=20]" in text
    assert "pgd[epsilon" not in text
    assert text.count("Not applicable to random-forest: carlini-wagner, fgsm, pgd (need gradients;") == 1
    forest = text[text.index("digits · random-forest") : text.index("SUMMARY")]
    assert not re.search(r"^ *pgd", forest, re.M)


def test_long_labels_fold_between_parameters() -> None:
    label = "transfer[surrogate=resnet-18,epsilon=0.03137254901960784,steps=40,restarts=10]"
    text = printed(aggregate([evasion(label, "none", 0, True), evasion("transfer", "none", 0, True)]), 80)
    assert "eps=8/255" in text
    lines = [line.split("  ")[0].strip() for line in text.splitlines()]
    assert "surrogate=resnet-18 eps=8/255" in lines
    assert "steps=40 restarts=10" in lines


def test_terminal_of_a_large_board_says_that_the_page_leaves_out_details(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "leaves out" not in printed(aggregate([record()]), 80)
    monkeypatch.setattr("sparring.leaderboard.table.DETAILED", 0)
    assert "index.html leaves out what is behind each" in printed(aggregate([record()]), 80)


def test_terminal_is_not_steered_by_names() -> None:
    text = printed(aggregate([record("\x1b[2J[red]x", "[bold]")]), 80)
    assert "\x1b" not in text
    assert "[bold]" in text


def test_numbers_have_no_negative_zero_and_no_needless_exponent() -> None:
    assert percent(-0.0001) == "0.0"
    assert percent(-0.5) == "-50.0"
    assert [plain(value) for value in (0.0, 12345.6, 0.0123456, 1e-9)] == ["0", "12346", "0.01235", "1e-09"]


def test_rendering_twice_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    folder = stored(tmp_path, realistic(("cnn",)))
    paths = render_board(folder, "Digits")
    assert [path.name for path in paths] == ["README.md", "table.csv", "index.html"]
    first = [path.read_bytes() for path in paths]
    for path in paths:
        os.utime(path, ns=(1, 1))
    program = f"""
import locale, sys
from pathlib import Path
from sparring.leaderboard.board import render_board
render_board(Path({str(folder)!r}), "Digits")
"""
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", program], check=True, env=env)
    assert [path.read_bytes() for path in paths] == first
    assert [path.stat().st_mtime_ns for path in paths] == [1, 1, 1]


def test_title_falls_back_to_the_folder(tmp_path: Path) -> None:
    board = load_board(stored(tmp_path / "my-board", [record()]))
    assert markdown(board).startswith("# my-board\n")


def test_unwritable_folder_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    folder = stored(tmp_path, [record()])
    board = load_board(folder)
    (folder / "table.csv").mkdir()
    with pytest.raises(BoardUnwritable, match=r"cannot write .*table\.csv: "):
        write_board(folder, board)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "results", "table.csv"]


def test_board_without_any_record_still_renders(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for path in render_board(tmp_path, "Empty"):
        assert path.stat().st_size > 0
    assert "**0 of 0 cells scored**" in (tmp_path / "README.md").read_text()


def test_render_command_writes_prints_and_names_bad_lines(tmp_path: Path) -> None:
    folder = stored(tmp_path / "digits", [record(), evasion("pgd", "none", 0, True, False)])
    suite = (
        "title: My digits\ndescription: Small.\ndatasets: [digits]\nvictims: [cnn]\nattacks: [pgd]\ndefences: [none]\n"
    )
    (folder / "suite.yaml").write_text(suite)
    with (folder / "results" / "cells.jsonl").open("a") as file:
        file.write("{}\n")
    done = CliRunner().invoke(command, ["render", str(folder)])
    assert done.exit_code == 0, done.output
    assert "digits · cnn" in done.output
    assert "results/cells.jsonl:3: " in done.output
    assert (folder / "README.md").read_text().startswith("# My digits\n\nSmall.\n")


def test_render_command_refuses_a_folder_that_is_no_board(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["render", str(tmp_path)])
    assert "has no suite.yaml" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_command_module_imports_nothing_heavy() -> None:
    heavy = {"numpy", "pydantic", "jinja2", "rich", "torch"}
    program = f"import sys, sparring.cli.leaderboard; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_threat_values_of_a_record_are_plain_and_finite() -> None:
    for value in (float("nan"), 10**400, [1], None, {"a": 1}):
        with pytest.raises(ValueError, match="epsilon is neither"):
            record("pgd", threat={**EVASION, "epsilon": value})


def test_pages_do_not_tell_records_with_and_without_sources_apart(tmp_path: Path) -> None:
    """Digests of sources are provenance: what is shown of version 1 records is what is shown of later ones."""
    old = [found.model_copy(update={"schema_version": 1}) for found in realistic()]
    new = [with_sources(found) for found in realistic()]
    assert new[0].cell.attack.source
    pages = [render_board(stored(tmp_path / str(n), records), "Digits") for n, records in enumerate((old, new))]
    assert [page.read_bytes() for page in pages[0]] == [page.read_bytes() for page in pages[1]]


def with_sources(found: Record) -> Record:
    roles = ("dataset", "victim", "attack", "defence")
    uses = {role: getattr(found.cell, role).model_copy(update={"source": "0123456789abcdef"}) for role in roles}
    return found.model_copy(update={"cell": found.cell.model_copy(update=uses)})
