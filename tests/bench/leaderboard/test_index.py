"""The index over all boards: complete, self-contained, and safe from what records say."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from made_records import evasion, realistic, record
from sparring.cli.main import commands
from sparring.journal import open_results
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.index import ANSWERS, index_entry, markdown_index, page_index
from sparring.record import Record

HOSTILE = "<script>alert(1)</script>](javascript:alert(1))"


def test_every_board_says_what_it_found_and_how_complete_it_is() -> None:
    whole = index_entry("digits", aggregate(realistic(), title="Digits", description="Small ones."))
    assert whole.size.startswith("1 data set, 3 victims, ")
    best = [answer for answer in whole.answers if answer.question == "holds best at inference"]
    assert len(best) == 3
    for text in (markdown_index([whole]), page_index([whole])):
        assert "Digits" in text
        assert "Small ones." in text
        assert best[0].best in text.replace("\\", "")


def test_long_boards_leave_answers_to_themselves() -> None:
    victims = tuple(f"net-{number}" for number in range(ANSWERS + 5))
    entry = index_entry("many", aggregate(realistic(victims, repetitions=1)))
    assert len(entry.answers) == ANSWERS
    assert f"and {entry.more} more" in markdown_index([entry])


def test_hostile_titles_and_names_do_nothing() -> None:
    board = aggregate([evasion(HOSTILE, HOSTILE, 0, True), record()], title=HOSTILE, description=HOSTILE)
    page, text = page_index([index_entry("a b/c", board)]), markdown_index([index_entry("ab/c", board)])
    assert "<script" not in page
    assert 'href="a%20b/c/index.html"' in page
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(javascript:", text)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = page_index([index_entry("digits", aggregate(realistic(("cnn",)), title="Digits"))])
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "default-src 'none'" in page


def board(folder: Path, *records: Record) -> None:
    with open_results(folder) as results:
        for made in records:
            results.append(made)
        results.consolidate()


def test_the_command_finds_boards_inside_boards(tmp_path: Path) -> None:
    board(tmp_path / "one", record())
    board(tmp_path / "one" / "quick", record("fgsm"))
    (tmp_path / "empty").mkdir()
    told = CliRunner().invoke(commands, ["leaderboard", "index", str(tmp_path)])
    assert told.exit_code == 0, told.output
    text = (tmp_path / "README.md").read_text()
    assert "](one/README.md)" in text
    assert "](one/quick/README.md)" in text
    before = (tmp_path / "index.html").read_bytes()
    assert CliRunner().invoke(commands, ["leaderboard", "index", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "index.html").read_bytes() == before
