"""index.html in real hands: keys, drop-downs, addresses that are passed on, paper, screen readers, a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from browser import CHROMIUM, Browser

from made_records import evasion, realistic
from sparring.leaderboard.aggregate import aggregate
from sparring.leaderboard.index import index_entry, page_index
from sparring.leaderboard.page import page
from sparring.leaderboard.table import Board

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

METRICS = {"clean-accuracy": ("Share of untouched test images classified correctly.", "higher", "%")}
ROWS = "[...document.querySelectorAll('#long tbody tr:not([hidden])')]"
FOCUSED = "document.activeElement.closest('td')?.cellIndex + ',' + document.activeElement.closest('tr')?.rowIndex"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def made() -> Board:
    """Two data sets and two victims; the second data set has one victim and two attacks."""
    others = [
        evasion(attack, "none", r, *([True] * (8 - r)), *([False] * (2 + r)), dataset="stripes", victim="mlp")
        for attack in ("pgd[epsilon=0.1,steps=20]", "fgsm[epsilon=0.1]")
        for r in range(2)
    ]
    return aggregate([*realistic(("cnn", "mlp"), repetitions=2), *others], metrics=METRICS, title="Digits")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(page(made()), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Browser]:
    """The page, just loaded. At the end, nothing has been said on the console."""
    browser.emulate()
    browser.resize(1280)
    browser.complaints.clear()
    browser.open(address)
    yield browser
    assert browser.complaints == []


def choose(browser: Browser, selector: str, value: str) -> None:
    chosen = f"const list = document.querySelector({selector!r}); list.value = {value!r};"
    told = "list.dispatchEvent(new Event('change', { bubbles: true })); return list.value;"
    assert browser.value(f"(() => {{ {chosen} {told} }})()") == value


def test_keys_walk_over_the_heat_map_and_open_what_is_behind_a_cell(opened: Browser) -> None:
    opened.value("document.querySelector('.grid .heat [data-cell]').focus()")
    start = opened.value(FOCUSED)
    assert start == "1,1"
    seen = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End", "Home"):
        opened.press(key)
        seen.append(opened.value(FOCUSED))
    last = opened.value("document.querySelector('.grid .heat tbody tr').cells.length - 1")
    assert seen == ["2,1", "2,2", "1,2", "1,1", f"{last},1", "1,1"]

    opened.press("ArrowDown", "Enter")
    assert opened.value("document.getElementById('panel').open")
    assert opened.value("document.activeElement.textContent") == "Close"
    row = opened.value(
        "document.querySelector('.grid .heat tbody').rows[1].cells[0].querySelector('.name').textContent"
    )
    assert row in opened.value("document.getElementById('panel-title').textContent")
    opened.press("Escape")
    assert not opened.value("document.getElementById('panel').open")
    assert opened.value(FOCUSED) == "1,2", "back where one was"


def test_the_tab_key_stops_once_in_a_table(opened: Browser) -> None:
    opened.value("document.querySelector('.grid .heat [data-cell]').focus()")
    opened.press("ArrowDown", "ArrowRight")
    opened.press("Tab")
    assert opened.value("document.activeElement.closest('.heat')") is None
    opened.press("Tab", shift=True)
    assert opened.value(FOCUSED) == "2,2", "Tab comes back to the cell that one left"

    opened.value("document.querySelector('#long thead th:last-child button').focus()")
    opened.press("Tab", "ArrowDown", "ArrowDown")
    assert opened.value("document.activeElement.closest('tr').rowIndex") == 3
    opened.press("Tab")
    assert opened.value("document.activeElement.closest('table')") is None


def test_keys_sort_and_narrow_the_table_of_all_cells(opened: Browser) -> None:
    opened.value("document.querySelectorAll('#long thead button')[6].focus()")
    opened.press("Enter", " ")
    assert opened.value("document.querySelectorAll('#long thead th')[6].getAttribute('aria-sort')") == "descending"
    shown = opened.value(f"{ROWS}.map(row => parseFloat(row.cells[6].textContent) || -1)")
    assert shown == sorted(shown, reverse=True)
    assert len(set(shown)) > 5
    opened.value("document.getElementById('words').focus()")
    opened.write("pgd jpeg")
    left = opened.value(f"{ROWS}.map(row => row.textContent)")
    assert 0 < len(left) < len(shown)
    assert all("pgd" in text and "jpeg" in text for text in left)
    assert opened.value("document.getElementById('shown').textContent") == f"{len(left)} of {len(shown)} cells"
    stops = opened.value(f"{ROWS}.map(row => row.querySelector('button').tabIndex)")
    assert stops.count(0) == 1, "one of those that are left"


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("Data set", 0, "stripes"),
        ("Victim", 1, "mlp"),
        ("Attack", 2, "fgsm[eps=0.1]"),
        ("Threat model", 3, "training backdoor, poison fraction 0.05"),
        ("Defence", 4, "jpeg@adaptive"),
        ("State", 10, "timed out"),
    ],
)
def test_a_drop_down_narrows_and_its_choice_can_be_passed_on(
    opened: Browser, address: str, name: str, column: int, value: str
) -> None:
    every = opened.value(f"{ROWS}.map(row => row.cells[{column}].textContent)")
    expected = [text for text in every if text == value]
    assert 0 < len(expected) < len(every)
    selector = f"#filter [data-name='{name}']" if name != "State" else "#state"
    choose(opened, selector, value)
    assert opened.value(f"{ROWS}.map(row => row.cells[{column}].textContent)") == expected
    there = opened.value("location.hash")
    assert parse_qs(there[1:]) == {name if name != "State" else "state": [value]}

    opened.open(address + there)
    assert opened.value(f"{ROWS}.map(row => row.cells[{column}].textContent)") == expected
    assert opened.value(f"document.querySelector({selector!r}).value") == value
    choose(opened, selector, "")
    assert opened.value("location.hash") == ""


def test_a_metric_gets_a_column_that_sorts_and_can_be_passed_on(opened: Browser, address: str) -> None:
    choose(opened, "#metric", "budget-l2-mean")
    opened.value("document.querySelectorAll('#long thead button')[8].click()")
    column = f"{ROWS}.map(row => row.cells[8].textContent)"
    shown = opened.value(column)
    numbers = [float(text.split()[0]) for text in shown if text]
    assert numbers == sorted(numbers)
    assert len(numbers) > 10
    assert "budget-l2-mean" in opened.value("document.querySelectorAll('#long thead th')[8].textContent")
    there = opened.value("location.hash")
    opened.open(address + there)
    assert opened.value(column) == shown


def test_an_address_that_is_pasted_into_the_same_tab_is_followed(opened: Browser) -> None:
    opened.value("new Promise(done => { addEventListener('hashchange', done); location.hash = 'Victim=mlp&table=2'; })")
    opened.wait_for("document.readyState === 'complete' && document.querySelector('#filter [data-name=Victim]')?.value")
    assert set(opened.value(f"{ROWS}.map(row => row.cells[1].textContent)")) == {"mlp"}
    assert opened.value("document.querySelector('#picker [aria-pressed=true]').textContent") == "digits · mlp"


def test_everything_is_on_paper_but_what_can_only_be_clicked(opened: Browser) -> None:
    opened.emulate("print")
    opened.value("dispatchEvent(new Event('beforeprint'))")
    hidden = "getComputedStyle(document.querySelector({})).display === 'none'"
    assert opened.value(hidden.format("'#picker'"))
    assert opened.value(hidden.format("'#filter'"))
    grids = opened.value(
        "[...document.querySelectorAll('.grid')].map(grid => grid.getBoundingClientRect().height > 50)"
    )
    assert grids == [True] * 3, "all of them, whichever was picked"
    assert opened.value("[...document.querySelectorAll('.grid h3')].every(title => title.offsetHeight > 0)")
    assert opened.value("[...document.querySelectorAll('main details')].every(part => part.open)")
    clipped = "[...document.querySelectorAll('.scroll')].filter(box => getComputedStyle(box).overflowX !== 'visible')"
    assert opened.value(f"{clipped}.length") == 0
    pages = opened.ask("Page.printToPDF", printBackground=True)["data"]
    assert len(pages) > 20_000
    opened.value("dispatchEvent(new Event('afterprint'))")
    assert not opened.value("[...document.querySelectorAll('main details')].some(part => part.open)")


def test_a_screen_reader_is_told_what_everything_is(opened: Browser) -> None:
    opened.value("document.querySelectorAll('#long thead button')[2].click()")
    told = opened.read_aloud()
    for role in ("button", "columnheader", "rowheader", "table", "region", "combobox", "searchbox", "link", "heading"):
        names = [name for found, name in told if found == role]
        assert names, role
        assert all(name.strip() for name in names), (role, names)
    assert next(name for role, name in told if role == "heading") == "Digits"
    assert {"banner", "main", "contentinfo", "status"} <= {role for role, _ in told}
    assert "Attack × defence, digits · cnn" in [name for role, name in told if role == "table"]
    assert any("best of the column" in name for _, name in told)
    scopes = opened.value("[...document.querySelectorAll('th')].every(head => ['row', 'col'].includes(head.scope))")
    assert scopes
    assert opened.value("document.getElementById('shown').getAttribute('aria-live')") == "polite"
    assert opened.value("document.querySelectorAll('[aria-sort]').length") == 1

    opened.value("document.querySelector('.grid .heat [data-cell]').click()")
    assert opened.value(
        "[...document.querySelectorAll('dialog th')].every(head => ['row', 'col'].includes(head.scope))"
    )
    title = opened.value("document.getElementById('panel-title').textContent")
    assert ("dialog", title) in opened.read_aloud()


def contrasts(browser: Browser) -> list[float]:
    """Of the heat maps' numbers with what is behind them (WCAG 2.1, 1.4.3)."""
    return browser.value("""(() => {
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      };
      const light = (colour) => {
        const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
        const [r, g, b] = rgb(colour).map((v) => linear(v / 255));
        return .2126 * r + .7152 * g + .0722 * b;
      };
      return [...document.querySelectorAll('.heat td .number')].map((number) => {
        const a = light(getComputedStyle(number).color);
        const b = light(getComputedStyle(number.closest('td')).backgroundColor);
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      });
    })()""")  # type: ignore[no-any-return]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_can_be_read_on_every_colour(opened: Browser, scheme: str) -> None:
    opened.emulate(scheme=scheme)
    found = contrasts(opened)
    assert len(found) > 100
    assert min(found) >= 4.5


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_but_tables_is_wider_than_the_window(browser: Browser, tmp_path: Path, width: int) -> None:
    browser.resize(width)
    board = made()
    for name, text in (
        ("page", page(board)),
        ("index", page_index([index_entry("a", board), index_entry("b", board)])),
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(text, encoding="utf-8")
        browser.open(file.as_uri())
        assert browser.value("document.documentElement.scrollWidth") <= width, name


def test_what_the_policy_refuses_is_heard(browser: Browser, tmp_path: Path) -> None:
    """Otherwise silence on the console would say nothing."""
    file = tmp_path / "index.html"
    file.write_text(page(made()).replace("</main>", "<script>document.title = 'owned'</script></main>"))
    browser.complaints.clear()
    browser.open(file.as_uri())
    browser.wait_for("document.readyState === 'complete'")
    assert browser.value("document.title") == "Digits"
    assert any("Content Security Policy" in said for said in browser.complaints)
