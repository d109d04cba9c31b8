"""Anything at all as a suite, a record, a selector or an artifact: a correct reading or one clear sentence, never
another exception, never code that runs, never a file outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made_records import realistic
from sparring.board import find_board
from sparring.catalogue import Catalogue, discover
from sparring.declarations import is_name
from sparring.errors import BadInput
from sparring.journal import BadLine, encoded, read_records
from sparring.keys import canonical_json
from sparring.plan import make_plan
from sparring.plugin import Kind
from sparring.record import Record
from sparring.selector import parse
from sparring.store import Artifact, Damaged, Store
from sparring.suite import load_suite
from sparring.tensors import MalformedTensors, header_of, tensors_in

QUICK, THOROUGH = "quick", pytest.param("thorough", marks=[pytest.mark.slow, pytest.mark.timeout(7200)])
EXAMPLES = {
    "selector": {"quick": 1000, "thorough": 45_000},
    "suite": {"quick": 250, "thorough": 10_000},
    "record": {"quick": 800, "thorough": 30_000},
    "artifact": {"quick": 800, "thorough": 25_000},
}
PATIENCE = timedelta(seconds=20)
"""For one input, on however busy a machine: more is a hang."""


def fuzz(what: str, how_thoroughly: str, **inputs: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Runs the decorated function with as many inputs as `EXAMPLES` says."""

    def run(check: Callable[..., None]) -> None:
        chosen = settings(
            max_examples=EXAMPLES[what][how_thoroughly],
            deadline=PATIENCE,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        chosen(given(**inputs)(check))()

    return run


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return discover()


ODD = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "../..",
        "/etc/passwd",
        "~",
        "$(touch ran)",
        "%s",
        "{0}",
        "🦊",
    ]
)
NAMES = st.sampled_from(
    ["pgd", "fgsm", "none", "jpeg", "steps", "eps", "epsilon", "norm", "linf", "victim", "cnn", "digits"]
)
NUMBERS = st.sampled_from(["0", "-1", "1e999", "8/255", "1/0", "nan", "9" * 400, "0x10", "1_000", ".5", "true", "null"])
MARKS = st.sampled_from(["[", "]", "=", ",", "'", '"', "\\", "{", "}", ":", "@", "*", "?", "|", "#", "&a", "*a", "<<"])
PIECES = st.lists(NAMES | NUMBERS | MARKS | ODD | st.text(max_size=3), max_size=14)
SELECTORS = PIECES.map("".join) | st.builds(lambda inside: f"pgd[{inside}]", PIECES.map("".join)) | st.text()


@pytest.mark.parametrize("how", [QUICK, THOROUGH])
def test_selectors(catalogue: Catalogue, how: str) -> None:
    @fuzz("selector", how, text=SELECTORS)
    def check(text: str) -> None:
        with suppress(BadInput):
            name, given_ = parse(text)
            assert isinstance(name, str)
            assert isinstance(given_, dict)
            for selection, _ in catalogue.resolve_attack(text):
                again, *others = catalogue.resolve(Kind.ATTACK, str(selection))
                assert not others
                assert again == selection


LINES = st.sampled_from(
    [
        "datasets: [digits]",
        "victims: [cnn]",
        "attacks: [none, {fgsm: {eps: [0.1, 8/255]}}]",
        "defences: [none, jpeg]",
        "seed: 3",
        "repetitions: 2",
        "limits: {seconds: 90s, memory: 4GiB}",
        "exclude: ['*/none', {victim: 'cnn*'}]",
        "threats: [{norm: linf}]",
        "metrics: [asr]",
        "title: !!python/object/apply:os.mkdir [ran]",
        "title: !!python/name:os.system",
        "name: ../../elsewhere",
        "a: &a [*a, *a]",
        "  - pgd",
        "---",
        "%YAML 1.1",
    ]
)
WRITTEN = st.lists(LINES | SELECTORS.map("attacks: [{}]".format) | PIECES.map(" ".join), max_size=12).map("\n".join)


@pytest.mark.parametrize("how", [QUICK, THOROUGH])
def test_suites(catalogue: Catalogue, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "suite.yaml"
    head = "datasets: [digits]\nvictims: [logistic]\ndefences: [none]\n"

    @fuzz(
        "suite", how, text=WRITTEN | WRITTEN.map(head.__add__), noise=st.binary(max_size=3), where=st.integers(0, 200)
    )
    def check(text: str, noise: bytes, where: int) -> None:
        content = text.encode("utf-8", "surrogatepass")
        file.write_bytes(content[:where] + noise + content[where:])
        with suppress(BadInput):
            suite = load_suite(file, catalogue)
            canonical_json(suite.digest)
            if suite.repetitions < 10:
                make_plan(suite, catalogue)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite.yaml"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | ODD | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def changed(value: Any, steps: list[int], other: Any) -> Any:
    """`value` with the part that `steps` lead to replaced by `other`."""
    if not steps or not isinstance(value, dict | list) or not value:
        return other
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, copy = keys[steps[0] % len(keys)], value.copy()
    copy[key] = changed(value[key], steps[1:], other)
    return copy


STEPS = st.lists(st.integers(0, 40), min_size=1, max_size=5)


@pytest.mark.parametrize("how", [QUICK, THOROUGH])
def test_records(how: str, tmp_path: Path) -> None:
    good = [json.loads(encoded(record)) for record in list(realistic())[:12]]
    file = tmp_path / "cells.jsonl"

    @fuzz(
        "record",
        how,
        one=st.sampled_from(good),
        steps=STEPS,
        other=JSON,
        cut=st.integers(0, 4000),
        noise=st.binary(max_size=4),
    )
    def check(one: Any, steps: list[int], other: Any, cut: int, noise: bytes) -> None:
        whole = json.dumps(changed(one, steps, other)).encode()
        file.write_bytes(
            whole + b"\n" + whole[:cut] + noise + whole[cut + 1 :] + b"\n" + json.dumps(one).encode() + b"\n"
        )
        found = list(read_records(file))
        assert isinstance(found[-1], Record), "what is wrong in one line is no matter of the next"
        for entry in found:
            if isinstance(entry, BadLine):
                assert entry.why.isprintable()
                assert len(entry.why) < 500
            else:
                again = Record.model_validate_json(encoded(entry), strict=True)
                assert again == entry


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "I64", "BOOL", "F8", "", "O"]) | JSON,
        "shape": st.lists(st.integers(-2, 2**64) | st.floats() | st.booleans(), max_size=4) | JSON,
        "data_offsets": st.lists(st.integers(-1, 2**70), max_size=3) | JSON,
    },
)
META = (
    st.just({"sparring": '{"key":"x","meta":{}}'})
    | st.builds(lambda text: {"sparring": text}, JSON.map(json.dumps))
    | JSON
)
HEADERS = st.dictionaries(st.sampled_from(["w", "y", "", "__metadata__", "../w"]), ENTRIES | JSON, max_size=3)


@pytest.mark.parametrize("how", [QUICK, THOROUGH])
def test_artifacts(how: str, tmp_path: Path) -> None:
    store, key = Store(tmp_path / "store"), "ab" * 32
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.arange(3)}
    store.save(key, arrays, {"label": "fit"})
    (path,) = (entry.path for entry in store.entries())
    good = path.read_bytes()

    @fuzz(
        "artifact",
        how,
        header=HEADERS,
        meta=META,
        length=st.none() | st.integers(0, 2**64 - 1),
        body=st.binary(max_size=40),
        at=st.integers(0, len(good) - 1),
        flip=st.integers(1, 255),
        cut=st.booleans(),
    )
    def check(header: Any, meta: Any, length: int | None, body: bytes, at: int, flip: int, cut: bool) -> None:
        text = json.dumps({"__metadata__": meta, **header}).encode()
        data = (len(text) if length is None else length).to_bytes(8, "little") + text + body
        with suppress(MalformedTensors):
            for array in tensors_in(data, header_of(data)).values():
                assert array.nbytes <= len(data)
                assert not array.flags.writeable
        bad = good[:at] if cut else good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
        path.write_bytes(bad)
        fresh = Store(store.root)
        (entry,) = fresh.entries()
        assert not fresh.whole(entry)
        assert isinstance(fresh.label(entry), str)
        with pytest.raises(Damaged):
            fresh.load(key)

    path.write_bytes(good)
    assert isinstance(store.load(key), Artifact)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/b", "..", ".", "a\x00b", "-rf", "a b", "Évil", "a\n", "con.", ""]
)
def test_names_that_lead_elsewhere_are_no_names(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("name", ["../outside", "..", "a/../../b", "\x00", "/", "leaderboards/../..", "~root", ""])
def test_boards_that_are_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    with pytest.raises(BadInput):
        find_board(name)
    assert list(tmp_path.rglob("*")) == [inside]


def test_links_in_a_boards_results_are_not_written_through(tmp_path: Path) -> None:
    from sparring.journal import open_results

    precious = tmp_path / "precious"
    precious.write_text("not yours\n")
    results = tmp_path / "board" / "results"
    results.mkdir(parents=True)
    for name in ("cells.jsonl", ".journal.lock"):
        (results / name).symlink_to(precious)
    with open_results(tmp_path / "board") as found:
        for record in list(realistic())[:3]:
            found.append(record)
        found.consolidate()
    assert precious.read_text() == "not yours\n"
    assert len(open_results(tmp_path / "board").by_cell) == 3
