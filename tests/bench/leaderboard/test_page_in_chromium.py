"""index.html as a browser sees it: nothing runs but its own script, and that works."""

from __future__ import annotations

import html
import json
import re
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM

from made_records import EVASION, evasion, realistic, record, scored
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.page import page
from sparring.leaderboard.page_data import PageData
from sparring.leaderboard.table import WAYS, Board
from sparring.record import Failed, Warned
from sparring.stage import FailureKind

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

INFO = {"clean-accuracy": ("Share of untouched test images classified correctly.", "higher", "%")}
HOSTILE = [
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=document.title='owned'>",
    "<!--",
    "\u2028",
]


def after(text: str, tmp_path: Path, script: str = "", width: int = 1200, fragment: str = "") -> str:
    """The document after its script ran, and then `script` (which needs the policy taken out)."""
    if script:
        text = re.sub(r"<meta http-equiv[^>]*>", "", text, count=1)
        text = text.replace("</body>", f"<script>{script}</script></body>")
    file = tmp_path / "index.html"
    file.write_text(text, encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, f"--window-size={width},900", "--dump-dom", f"{file.as_uri()}{fragment}"],
        capture_output=True,
        timeout=90,
        check=True,
    )
    return done.stdout.decode()


def board() -> Board:
    return aggregate(realistic(("cnn", "mlp")), metrics=INFO, title="Digits")


class _Outside(HTMLParser):
    """Everything in a page that could reach out or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def hostile_board() -> Board:
    records = []
    for name in HOSTILE:
        outcome = scored({"clean-accuracy": 0.5, name: 0.1}, warnings=[Warned(id=name, message=name)])
        failed = Failed(kind=FailureKind.ERROR, stage=name, error=name, traceback=name)
        records += [record(name, name, outcome=outcome, threat={name: name}), record(name, "none", outcome=failed)]
    return aggregate(
        records, metrics={HOSTILE[0]: (HOSTILE[0], HOSTILE[0], HOSTILE[0])}, title=HOSTILE[0], problems=HOSTILE
    )


def test_page_reaches_for_nothing_outside_itself() -> None:
    text = page(board())
    seen = _Outside()
    seen.feed(text)
    assert set(seen.addresses) == {"data:,", "table.csv", "#warnings"}
    assert seen.handlers == []
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML", text)


def test_hostile_names_add_no_element_and_cannot_end_the_data() -> None:
    text = page(hostile_board())
    seen = _Outside()
    seen.feed(text)
    assert seen.tags.count("script") == 2
    assert "img" not in seen.tags
    assert text.count("<!--") == 0
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert embedded is not None
    assert "\u2028" not in embedded[1]
    data = json.loads(embedded[1])
    assert {data["attacks"][cell["a"]][0] for cell in data["cells"]} == set(HOSTILE)


def test_tables_are_there_without_javascript() -> None:
    text = re.sub(r"<script.*?</script>", "", page(board()), flags=re.S)
    words = html.unescape(re.sub(r"<[^>]*>", " ", text))
    assert len(re.findall(r"worst case\s+per image", words)) == 2
    assert re.search(r"label-flip\s+fraction=0.2", words)
    assert "Which defence holds best?" in words
    assert re.search(r"\d\d\.\d\s+± \d\.\d", words)


def test_large_confusion_matrices_and_tracebacks_are_left_to_the_records() -> None:
    large = scored({"clean-accuracy": 0.5}, confusion=[[1] * 100] * 100)
    failed = Failed(kind=FailureKind.ERROR, stage="fit", error="x", traceback="y" * 10**6)
    assert len(page(aggregate([record(outcome=large), record("a", outcome=failed)]))) < 60_000


def test_guard_cell_that_is_the_same_both_ways_spans_both_columns() -> None:
    text = page(aggregate([record("none", "jpeg"), *(evasion("pgd", f"jpeg@{w}", 0, w == "adaptive") for w in WAYS)]))
    assert len(re.findall(r'<td[^>]*colspan="2"[^>]*><button', text)) == 1  # none
    assert text.count("<button data-cell=") == 3
    assert text.count("1 attack, oblivious and adaptive") == 1


def test_what_the_page_packs_is_what_the_records_say() -> None:
    failed = Failed(kind=FailureKind.ERROR, stage="fit", error="x", traceback="line 1")
    made = [evasion("pgd", "none", 0, True, False), record("pgd", repetition=1, outcome=failed, threat=EVASION)]
    data = PageData(aggregate(made)).as_json()
    (cell,) = data["cells"]
    assert data["attacks"][cell["a"]] == ["pgd", "pgd"]
    assert dict(zip(data["layouts"][cell["l"]], cell["m"], strict=True)) == {"robust-accuracy": "50.0"}
    assert [data["states"][entry[1]] for entry in cell["e"]] == ["scored", "failed"]
    assert cell["e"][1][5:] == ["line 1", ""]
    assert data["said"][cell["e"][1][2]] == ["fit: x"]
    assert cell["c"] == "9,1,2,8"


def test_page_of_a_large_board_holds_its_tables_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.leaderboard.table.DETAILED", 100)
    large = page(board())
    assert "data-cell" not in large.split("<script")[0]
    assert '<script type="application/json" id="data">null</script>' in large
    assert "what is behind each of them is left to" in large
    assert "Which defence holds best?" in large


def test_page_of_a_thousand_cells_is_small_and_quick() -> None:
    records = realistic(("cnn", "mlp"), repetitions=10)
    assert len(records) > 1000
    start = time.perf_counter()
    text = page(aggregate(records))
    assert time.perf_counter() - start < 5
    assert len(text) < 600_000


@needs_chromium
def test_five_thousand_cells_are_small_and_can_be_used_within_two_seconds(tmp_path: Path) -> None:
    """The best of some loads, beside whatever else the machine does, as the browser counts: until the script has run,
    sorted once and opened a cell."""
    found = aggregate(realistic(tuple(f"net-{number}" for number in range(31)), repetitions=3), metrics=INFO)
    assert found.expected > 5000
    text = page(found)
    assert len(text) < 3_000_000
    script = """
      document.querySelectorAll('#long th button')[6].click();
      document.querySelector('#long tbody button').click();
      document.body.dataset.took = performance.now();
    """
    took: list[float] = []
    while len(took) < 5 and min(took, default=2) >= 2:
        number = len(took)
        (tmp_path / str(number)).mkdir()
        shown = after(text, tmp_path / str(number), script)
        told = re.search(r'data-took="([0-9.]+)"', shown)
        assert told is not None, "the script ran to its end"
        took.append(float(told[1]) / 1000)
    assert min(took) < 2, took


@needs_chromium
def test_script_runs_under_its_policy_and_shows_one_table_at_a_time(tmp_path: Path) -> None:
    seen = after(page(board()), tmp_path)
    assert seen[seen.index("<body") : seen.index("<footer")].count('aria-pressed="true"') == 1
    assert len(re.findall(r'<section class="grid" style="display: none;?"', seen)) == 1
    assert re.search(r'<output id="shown"[^>]*>\d+ of \d+ cells</output>', seen)


@needs_chromium
def test_script_of_a_large_board_runs_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.leaderboard.table.DETAILED", 100)
    seen = after(page(board()), tmp_path, "document.title = 'grids ' + grids.length + ' cells ' + lines.length;")
    assert "<title>grids 2 cells 0</title>" in seen


@needs_chromium
def test_fragment_opens_a_table(tmp_path: Path) -> None:
    jump = "<script>history.replaceState(null, '', '#2')</script></main>"
    text = re.sub(r"<meta http-equiv[^>]*>", "", page(board()), count=1).replace("</main>", jump)
    seen = after(text, tmp_path)
    assert re.search(r'aria-pressed="true">digits · mlp<', seen)


ADDRESS = "document.body.dataset.address = location.hash;"


@needs_chromium
def test_the_view_is_in_the_address(tmp_path: Path) -> None:
    script = """
      document.querySelectorAll('#picker button')[1].click();
      const typed = document.getElementById('words');
      typed.value = 'pgd none';
      typed.dispatchEvent(new Event('input'));
      document.querySelectorAll('#long th button')[6].click();
      document.querySelectorAll('#long th button')[6].click();
      document.querySelector('#long tbody tr:not([hidden]) button').click();
    """
    shown = after(page(board()), tmp_path, script + ADDRESS)
    address = html.unescape(re.search(r'data-address="([^"]*)"', shown)[1])  # type: ignore[index]
    assert {part.partition("=")[0] for part in address[1:].split("&")} == {"table", "filter", "sort", "cell"}

    again = after(page(board()), tmp_path, ADDRESS, fragment=address)
    assert html.unescape(re.search(r'data-address="([^"]*)"', again)[1]) == address  # type: ignore[index]
    assert re.search(r"<dialog[^>]* open", again), "the panel is open"
    assert 'aria-sort="descending"' in again
    assert re.findall(r'<button[^>]*aria-pressed="true"[^>]*>([^<]*)', again) == ["digits · mlp"]
    shown_rows = re.search(r'id="shown"[^>]*>(\d+) of', again)
    assert shown_rows is not None
    assert 0 < int(shown_rows[1]) < len(board().cells)


@needs_chromium
@pytest.mark.parametrize("fragment", ["#cell=nobody&state=lost&sort=99&table=77", "#filter=%3Cimg+src=x%3E", "#%ff&="])
def test_an_address_that_makes_no_sense_does_no_harm(fragment: str, tmp_path: Path) -> None:
    shown = after(page(board()), tmp_path, ADDRESS, fragment=fragment)
    assert 'data-address="' in shown, "the script ran to its end"
    assert "<img" not in shown
    assert not re.search(r"<dialog[^>]* open", shown)


@needs_chromium
def test_the_panel_says_how_to_compute_the_cell_again(tmp_path: Path) -> None:
    shown = after(page(board()), tmp_path, "document.querySelector('[data-cell]').click();")
    assert "sparring verify . --only 'digits/cnn/none/none'" in html.unescape(shown)


@needs_chromium
def test_hostile_names_are_only_text_in_the_page_and_its_panel(tmp_path: Path) -> None:
    text = page(hostile_board())
    opened = "for (const cell of data.cells) fill(cell); document.querySelector('[data-cell]').click();"
    seen = after(text, tmp_path, opened)
    title = re.search(r"<title>(.*?)</title>", seen, re.S)
    assert title is not None
    assert html.unescape(title[1]) == HOSTILE[0]
    assert "<img" not in seen
    assert "<dialog" in seen


@needs_chromium
def test_panel_shows_everything_behind_a_cell(tmp_path: Path) -> None:
    text, label = page(board()), "none × activation-clustering"
    find = (
        f"data.cells.map(unpacked).findIndex(c => c.place[1] === 'mlp' && c.attack + ' × ' + c.defence === '{label}')"
    )
    seen = after(text, tmp_path, f"document.querySelector(`[data-cell='${{{find}}}']`).click()")
    panel = html.unescape(seen[seen.index("<dialog") : seen.index("</dialog>")])
    assert " open" in panel[:120]
    for text in (
        INFO["clean-accuracy"][0],
        "sanitise: ValueError: n_samples=1",
        "Traceback of digits/mlp/none/activation-clustering/r1",
        "Confusion matrix",
        "AMD EPYC 7763",
        "Seconds per stage",
    ):
        assert text in panel
