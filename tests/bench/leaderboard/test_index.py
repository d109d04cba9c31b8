"""The index over all boards: complete, self-contained, and safe from what records say."""

from __future__ import annotations

import html
import re
import subprocess
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from made_records import evasion, realistic, record, scored
from sparring.cli.main import commands
from sparring.journal import open_results
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.headline import by_question
from sparring.leaderboard.index import ANSWERS, index_entry, markdown_index, page_index
from sparring.record import Failed, Record, Warned
from sparring.revisions import commit_dates
from sparring.stage import FailureKind

HOSTILE = "<script>alert(1)</script>](javascript:alert(1))"


def test_every_board_says_what_it_found_and_how_complete_it_is() -> None:
    whole = index_entry("digits", aggregate(realistic(), title="Digits", description="Small ones."))
    assert whole.size.startswith("1 data set, 3 victims, ")
    best = [answer for answer in whole.answers if answer.question == "holds best at inference"]
    assert len(best) == 3
    for text in (markdown_index([whole]), page_index([whole])):
        assert "Digits" in text
        assert "Small ones." in text
        assert best[0].best in text.replace("\\", "").replace("<wbr>", "")


def test_a_board_says_in_sentences_who_is_best_and_what_to_be_wary_of() -> None:
    board = aggregate(realistic(), title="Digits")
    entry = index_entry("digits", board, ["2026-11-21", "2026-11-23", "2026-11-25"])
    assert [about for about, _ in entry.short] == [about for about, _ in by_question(board)]
    assert ("masked-gradients", 4) in entry.warnings
    assert entry.made == "on AMD EPYC 7763, code of 2026-11-21 to 2026-11-25"
    assert index_entry("digits", board, ["2026-11-21"]).made == "on AMD EPYC 7763, code of 2026-11-21"
    for text in (markdown_index([entry]), page_index([entry])):
        plain = html.unescape(re.sub(r"<[^>]*>|[\\\\*`]", "", text)).replace("\xa0", " ")
        for _, sentences in entry.short:
            for told in sentences:
                assert told.best in plain
                assert told.text in plain
        assert "masked-gradients" in plain
        assert entry.made in plain


def test_coverage_is_never_rounded_up_to_whole() -> None:
    failed = Failed(kind=FailureKind.ERROR, stage="fit", error="x", traceback="")
    records = [record(repetition=number, outcome=failed if number == 0 else None) for number in range(300)]
    assert index_entry("digits", aggregate(records)).done == 99
    assert index_entry("digits", aggregate(records[1:])).done == 100


def test_long_boards_leave_answers_to_themselves() -> None:
    victims = tuple(f"net-{number}" for number in range(ANSWERS + 5))
    entry = index_entry("many", aggregate(realistic(victims, repetitions=1)))
    assert len(entry.answers) == ANSWERS
    assert f"and {entry.more} more" in markdown_index([entry])


def test_hostile_titles_and_names_do_nothing() -> None:
    shares = {HOSTILE: [True, True], "none": [True, False]}
    records = [evasion(HOSTILE, defence, r, *flags) for defence, flags in shares.items() for r in (0, 1)]
    warned = scored({"clean-accuracy": 0.5}, warnings=[Warned(id=HOSTILE, message=HOSTILE)])
    board = aggregate([*records, record(outcome=warned)], title=HOSTILE, description=HOSTILE)
    board = replace(board, provenances=(board.provenances[0].model_copy(update={"cpu": HOSTILE}),))
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


def test_the_days_of_commits_are_those_that_git_knows(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    commit, day = git("rev-parse", "HEAD"), git("show", "--no-patch", "--format=%cs", "HEAD")
    assert commit_dates(tmp_path, [commit, f"{commit}+"]) == [day]
    written = tmp_path / "written"
    assert commit_dates(tmp_path, ["0" * 40, "HEAD", f"--output={written}", "", f"{commit}\n"]) == []
    assert not written.exists()
