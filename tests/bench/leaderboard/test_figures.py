"""Curves say what the records say; their drawings are the same each time and carry nothing but text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from made_records import record, scored
from sparring.cli.main import commands
from sparring.errors import BadInput
from sparring.journal import open_results
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.curves import curves
from sparring.leaderboard.figures import file_name, svg
from sparring.leaderboard.page import page
from sparring.record import Record

HOSTILE = "<script>alert(1)</script>$\\alpha$&"


def attacked(
    name: str, accuracy: float, defence: str = "none", metric: str = "robust-accuracy", **threat: Any
) -> list[Record]:
    when = "training" if metric == "clean-accuracy" else "inference"
    allowed = {"when": when, "goal": "availability" if when == "training" else "evasion"} | threat
    label = f"{name}[{','.join(f'{key}={value}' for key, value in threat.items() if key != 'norm')}]"
    return [
        record(label, defence, repetition, scored({metric: accuracy + 0.01 * repetition}), threat=allowed, when=when)
        for repetition in range(3)
    ]


def clean(defence: str = "none") -> list[Record]:
    return [record("none", defence, repetition, scored({"clean-accuracy": 0.9})) for repetition in range(3)]


def over_epsilon(defence: str = "none") -> list[Record]:
    levels = ((0.1, 0.6), (0.3, 0.2), (0.2, 0.4))
    return [r for e, a in levels for r in attacked("pgd", a, defence, norm="linf", epsilon=e)]


def test_points_are_in_order_and_begin_without_the_attack() -> None:
    (curve,) = curves(aggregate([*clean(), *over_epsilon()]))
    assert (curve.attack, curve.axis, curve.metric) == ("pgd", "epsilon (L∞)", "robust accuracy")
    (series,) = curve.series
    assert [x for x, _ in series.points] == [0.0, 0.1, 0.2, 0.3]
    assert [round(y.mean, 6) for _, y in series.points] == [0.9, 0.61, 0.41, 0.21]


def test_poisons_are_drawn_over_their_fraction() -> None:
    levels = ((0.2, 0.8), (0.5, 0.3))
    records = [r for f, a in levels for r in attacked("flip", a, metric="clean-accuracy", poison_fraction=f)]
    (curve,) = curves(aggregate([*clean(), *records]))
    assert (curve.axis, curve.metric) == ("poison fraction", "clean accuracy")
    assert [x for x, _ in curve.series[0].points] == [0.0, 0.2, 0.5]


def test_each_defence_has_a_line_and_one_budget_makes_no_curve() -> None:
    board = aggregate([*clean(), *clean("jpeg"), *over_epsilon(), *over_epsilon("jpeg")])
    assert [series.defence for series in curves(board)[0].series] == ["none", "jpeg"]
    assert curves(aggregate([*clean(), *attacked("pgd", 0.5, epsilon=0.1)])) == []


def test_drawings_are_xml_with_their_words_and_nothing_that_runs() -> None:
    board = aggregate([*clean(HOSTILE), *over_epsilon(HOSTILE), *over_epsilon()])
    (curve,) = curves(board)
    for drawn in (svg(curve, page=True), svg(curve, page=False)):
        root = ElementTree.fromstring(drawn)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "script" not in tags
        text = "".join(root.itertext())
        assert "robust accuracy (%)" in text
        assert "<script>alert(1)</script>$\\alpha$&" in text, "names are shown as they are"
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert not name.endswith("href") or value.startswith("#")
    assert "<script>alert" not in page(board)


def test_drawings_in_a_page_take_its_colours() -> None:
    (curve,) = curves(aggregate([*clean(), *over_epsilon()]))
    assert "currentColor" in svg(curve, page=True)
    assert "currentColor" not in svg(curve, page=False)
    assert svg(curve, page=True).startswith("<svg")


def test_drawings_are_the_same_in_every_process(tmp_path: Path) -> None:
    with open_results(tmp_path / "board") as results:
        for made in (*clean(), *over_epsilon()):
            results.append(made)
        results.consolidate()
    command = [sys.executable, "-c", "from sparring.cli.main import main; main()", "leaderboard", "render"]
    for seed in ("1", "2"):
        arguments = [str(tmp_path / "board"), "--format", "svg", "--out", str(tmp_path / seed)]
        subprocess.run(
            [*command, *arguments], check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed}
        )
    (one,), (two,) = ((tmp_path / seed).iterdir() for seed in ("1", "2"))
    assert one.name == two.name == "pgd-robust-accuracy-over-epsilon-linf-digits-cnn.svg"
    assert one.read_bytes() == two.read_bytes()


def test_names_of_files_are_names() -> None:
    (curve,) = curves(aggregate([*clean(), *over_epsilon("../../etc")]))
    assert "/" not in file_name(curve)
    assert not file_name(curve).startswith((".", "-"))


def test_a_board_without_curves_is_told(tmp_path: Path) -> None:
    with open_results(tmp_path / "board") as results:
        results.append(record())
        results.consolidate()
    for arguments in (["--out", str(tmp_path / "x")], []):
        done = CliRunner().invoke(
            commands, ["leaderboard", "render", str(tmp_path / "board"), "--format", "svg", *arguments]
        )
        assert isinstance(done.exception, BadInput)
    with pytest.raises(StopIteration):
        next((tmp_path / "board").glob("*.svg"))
