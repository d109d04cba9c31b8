"""Pictures beside the records: made from real cells, shown while they are current, and never trusted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from made_records import record, scored
from sparring.cli.main import commands
from sparring.journal import open_results
from sparring.leaderboard import gallery as gallery_module
from sparring.leaderboard.board import load_board
from sparring.leaderboard.markdown import markdown
from sparring.leaderboard.page import page
from sparring.pictures import LARGEST, Picture, Pictures, picture
from sparring.soundness import problems_of_pictures

HOSTILE = "</script><img src=x onerror=alert(1)> =cmd() | [x](javascript:1)\n# heading"


def png(shade: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), shade).save(out, format="PNG")
    return out.getvalue()


def board_with(folder: Path, *cells: str) -> dict[str, str]:
    """Records of these attacks; returns cell id -> key."""
    with open_results(folder) as results:
        for attack in cells:
            results.append(record(attack, outcome=scored({"clean-accuracy": 0.5})))
        results.consolidate()
        return {cell: found.key for cell, found in results.by_cell.items()}


def saved(folder: Path, keys: dict[str, str], about: str = "Rows: clean; attacked.") -> dict[str, Picture]:
    made = {cell: picture(cell, key, png(shade), about) for shade, (cell, key) in enumerate(keys.items())}
    Pictures(folder / "results").save(made, keys)
    return made


def wrong(folder: Path) -> list[str]:
    return list(problems_of_pictures(open_results(folder)))


def test_pictures_are_on_the_page_and_linked_from_markdown(tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a", "b")
    made = saved(tmp_path, keys)
    board = load_board(tmp_path)
    text = page(board)
    assert len(re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" alt="[^"]', text)) == 2
    for found in made.values():
        assert f"results/pictures/{found.line.digest}.png" in markdown(board)
    assert wrong(tmp_path) == []
    assert page(replace(board, pictures={})).count("<img") == 0


def test_what_the_page_has_no_room_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = board_with(tmp_path, "a")
    (made,) = saved(tmp_path, keys).values()
    board = load_board(tmp_path)
    monkeypatch.setattr("sparring.leaderboard.page.LARGEST_PAGE", 1000)
    text = page(board)
    assert "<img" not in text
    assert f'Left out of this page for its size: <a href="results/pictures/{made.line.digest}.png"' in text
    assert len(page(replace(board, pictures={})).encode()) < gallery_module.LARGEST_PAGE


def test_a_picture_of_another_record_is_not_shown(tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a", "b")
    saved(tmp_path, keys | {"digits/cnn/a/none/r0": "0" * 64})
    assert set(load_board(tmp_path).pictures) == {"digits/cnn/b/none/r0"}
    (told,) = wrong(tmp_path)
    assert "pictures of records that have changed: digits/cnn/a/none/r0" in told
    saved(tmp_path, keys)
    assert wrong(tmp_path) == []
    assert len(list((tmp_path / "results/pictures").glob("*.png"))) == 2, "the old one is gone"


def test_saving_keeps_the_others(tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a", "b")
    saved(tmp_path, keys)
    fresh = {"digits/cnn/a/none/r0": picture("digits/cnn/a/none/r0", keys["digits/cnn/a/none/r0"], png(99), "new")}
    Pictures(tmp_path / "results").save(fresh, keys)
    assert set(load_board(tmp_path).pictures) == set(keys)
    assert load_board(tmp_path).pictures["digits/cnn/a/none/r0"].line.about == "new"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<svg onload=alert(1)>", "is no PNG file"),
        (png() + b"x" * LARGEST, "no plain file of at most"),
    ],
)
def test_files_that_are_no_small_png_are_left_out(content: bytes, told: str, tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a")
    made = {cell: picture(cell, key, content, "x") for cell, key in keys.items()}
    Pictures(tmp_path / "results").save(made, keys)
    assert not load_board(tmp_path).pictures
    assert told in wrong(tmp_path)[0]


def test_a_file_that_was_exchanged_and_a_link_are_left_out(tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a", "b")
    one, two = (tmp_path / f"results/pictures/{f.line.digest}.png" for f in saved(tmp_path, keys).values())
    one.write_bytes(png(77))
    content = two.read_bytes()
    two.unlink()
    (tmp_path / "elsewhere.png").write_bytes(content)
    os.symlink(tmp_path / "elsewhere.png", two)
    assert not load_board(tmp_path).pictures
    told = " ".join(wrong(tmp_path))
    assert "is not what its name says" in told
    assert "is not there, or no plain file" in told


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        json.dumps({"cell": "a", "key": "0" * 64, "digest": "../../../etc/passwd", "about": ""}),
        json.dumps({"cell": "a", "key": "0" * 64, "digest": "0" * 64, "about": "x" * 10**5}),
        json.dumps({"cell": "a", "key": "0" * 64, "digest": "0" * 64, "about": "", "run": "rm"}),
        json.dumps({"cell": float("nan"), "key": "0" * 64, "digest": "0" * 64, "about": ""}),
    ],
)
def test_lines_of_the_index_are_validated(line: str, tmp_path: Path) -> None:
    board_with(tmp_path, "a")
    folder = tmp_path / "results/pictures"
    folder.mkdir()
    (folder / "index.jsonl").write_text(line + "\n")
    assert not load_board(tmp_path).pictures
    assert "results/pictures/index.jsonl:1:" in wrong(tmp_path)[0]


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a")
    saved(tmp_path, keys, about=HOSTILE)
    text = page(load_board(tmp_path))
    assert text.count("<img") == 1, "the picture itself"
    assert text.count("<script") == 2
    assert "onerror" not in re.sub(r'(alt|title)="[^"]*"', "", text)


def test_a_file_that_nothing_names_is_told(tmp_path: Path) -> None:
    keys = board_with(tmp_path, "a")
    saved(tmp_path, keys)
    (tmp_path / "results/pictures/<b>.png").write_bytes(png())
    assert "has files that its index does not name" in wrong(tmp_path)[0]


def test_rows_are_drawn_into_the_same_bytes_again() -> None:
    from sparring.illustration import Illustration, Row, _first_of_each
    from sparring.illustration import png as drawn

    assert _first_of_each(np.array([3, 3, 1, 3, 1, 0]), 4).tolist() == [5, 2, 0, 4]
    images = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    heat = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 8, 8)
    shown = Illustration((Row("clean", "2 images", images, said="ab"), Row("map", "a map", images, heat)), "labels")
    assert shown.about.startswith("Rows: 2 images; a map. Below the images: labels.")
    content = drawn(shown)
    assert content.startswith(b"\x89PNG")
    assert len(content) < LARGEST
    assert hashlib.sha256(drawn(shown)).digest() == hashlib.sha256(content).digest()


SUITE = """
datasets: ['digits[limit_train=100,limit_test=40]']
victims: ['logistic[epochs=1]']
attacks: [none, {random-pixel: {intensity: 1.0}}]
defences: [none]
"""


def test_pictures_of_cells_that_were_computed_anew_are_drawn_again_on_request(tmp_path: Path) -> None:
    board, cache = tmp_path / "board", ("--cache", str(tmp_path / "cache"))
    board.mkdir()

    def sparring(*arguments: str, code: int = 0) -> str:
        told = CliRunner().invoke(commands, arguments)
        assert told.exit_code == code, told.output
        return told.output

    (board / "suite.yaml").write_text(SUITE)
    sparring("run", str(board), "--engine", "serial", *cache)
    assert "0 drawn" in sparring("pictures", str(board), "--renew", *cache)
    assert "1 drawn" in sparring("pictures", str(board), "--cell", "random-pixel*", "--count", "2", *cache)
    (board / "suite.yaml").write_text(f"seed: 2\n{SUITE}")
    sparring("run", str(board), "--engine", "serial", *cache)
    assert "pictures of records that have changed" in sparring("leaderboard", "check", str(board), code=1)
    sparring("leaderboard", "merge", str(board), str(board))
    assert "1 drawn" in sparring("pictures", str(board), "--renew", "--count", "2", *cache)
    sparring("leaderboard", "render", str(board))
    sparring("leaderboard", "check", str(board))


EXPLAINED = """
datasets: ['digits[limit_train=300,limit_test=60]']
victims: ['cnn[epochs=12]', random-forest]
attacks: [none, {badnets: {fraction: 0.1}}]
defences: [none]
"""


def test_explained_pictures_say_what_a_backdoor_was_learned_from(tmp_path: Path) -> None:
    board, cache = tmp_path / "board", ("--cache", str(tmp_path / "cache"))
    board.mkdir()
    (board / "suite.yaml").write_text(EXPLAINED)
    for command in (
        ("run", str(board), "--engine", "serial"),
        ("pictures", str(board), "--explain", "--cell", "badnets*"),
    ):
        told = CliRunner().invoke(commands, [*command, *cache])
        assert told.exit_code == 0, told.output
    about = {cell.split("/")[1]: found.line.about for cell, found in load_board(board).pictures.items()}
    assert "input gradient" in about["cnn[epochs=12]"]
    assert re.search(r"weights as before training, whose rank correlation .* is -?0\.\d\d", about["cnn[epochs=12]"])
    assert "speaks most for the answer after the attack, number 2" in about["cnn[epochs=12]"]
    assert about["random-forest"].startswith("Rows: 6 images before the attack; the same attacked; the difference")
    assert "speaks most" not in about["random-forest"], "it has no features"
