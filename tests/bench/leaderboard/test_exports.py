"""Tables for papers and for programs: LaTeX that compiles, Parquet that says what the CSV says."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from made_records import evasion, realistic, record
from sparring.cli.main import commands
from sparring.errors import BadInput
from sparring.journal import open_results
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.latex import latex
from sparring.leaderboard.parquet import parquet
from sparring.leaderboard.table_csv import table_csv


def test_latex_has_a_table_for_each_victim_with_every_attack() -> None:
    board = aggregate(realistic(), title="Digits")
    text = latex(board)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    for row in board.tables[0].rows:
        assert rf"\texttt{{{row.partition('[')[0]}" in text
    assert r"$\pm$" in text
    for table in re.findall(r"\\begin\{tabular\}\{l(r+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert {line.count(" & ") for line in rows} == {len(table[0])}


@given(st.text(alphabet=st.sampled_from("\\{}$&#^_~%<>|\"'`ab \n∞±"), max_size=12))
def test_names_stay_text_in_latex(name: str) -> None:
    text = latex(aggregate([evasion(f"x{name}", "none", 0, True), record()], title=name))
    body = text.replace(r"\\", "").replace(r"$\pm$", "").replace(r"$\cdot$", "")
    stripped = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textquotedbl)\{\}", "", body
    )
    stripped = re.sub(r"\\[&%$#_{}]", "", stripped)
    assert "$" not in stripped
    assert "~" not in stripped
    assert stripped.count("{") == stripped.count("}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    body = latex(aggregate(realistic(), title="Digits & co."))
    packages = r"\usepackage{booktabs}\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}"
    (tmp_path / "t.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_parquet_says_what_the_csv_says_with_types() -> None:
    board = aggregate(realistic(repetitions=3))
    read = pyarrow.parquet.read_table(io.BytesIO(parquet(board)))
    lines = list(csv.DictReader(io.StringIO(table_csv(board))))
    assert read.num_rows == len(lines)
    assert read.column_names == list(lines[0])
    for column in ("attack", "defence"):
        assert [value or "" for value in read.column(column).to_pylist()] == [line[column] for line in lines]
    for column in ("clean-accuracy mean", "robust-accuracy mean"):
        for value, line in zip(read.column(column).to_pylist(), lines, strict=True):
            assert (value is None and line[column] == "") or value == float(line[column])
    assert str(read.schema.field("scored").type) == "int64"


def test_the_command_writes_one_format_and_nothing_else(tmp_path: Path) -> None:
    with open_results(tmp_path / "board") as results:
        results.append(record())
        results.consolidate()

    def render(*arguments: str):
        return CliRunner().invoke(commands, ["leaderboard", "render", str(tmp_path / "board"), *arguments])

    assert r"\toprule" in render("--format", "latex").output
    assert render("--format", "csv").output.startswith("row,dataset,")
    assert render("--format", "parquet", "--out", str(tmp_path / "t.parquet")).exit_code == 0
    assert pyarrow.parquet.read_table(tmp_path / "t.parquet").num_rows == 1
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == ["results"]
    for wrong in (("--format", "parquet"), ("--out", str(tmp_path / "x"))):
        assert isinstance(render(*wrong).exception, BadInput)
