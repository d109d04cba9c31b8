"""`sparring cache`: what lies in the store, what may go, what is damaged; never what somebody uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sparring.catalogue import discover
from sparring.cli.main import main
from sparring.keys import digest_of
from sparring.plan import make_plan
from sparring.store import Store, StoreInUse
from sparring.suite import load_suite

Say = Callable[..., tuple[int, str, str]]
SUITE = "datasets: [digits]\nvictims: [logistic]\nattacks: [none]\ndefences: [none]\n"
DAY = 24 * 3600


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """`say("ls")`: exit code, output, errors of `sparring cache`, in a folder of its own."""
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def _say(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sparring", "cache", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return _say


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A load of 1 day, a fit of 10 and another of 20 days ago, and a checkpoint of now; 4 kB or so each."""
    store = Store(tmp_path / "cache" / "artifacts")
    for label, days in (("load digits", 1), ("fit cnn on digits, r0", 10), ("fit mlp on digits, r0", 20)):
        store.save(digest_of(label), {"w": np.zeros(1000, np.float32)}, {"label": label})
        file = next(store.root.rglob(f"{digest_of(label)}.*"))
        os.utime(file, (time.time() - days * DAY,) * 2)
    store.checkpoints(digest_of("half")).write({"w": np.zeros(1000, np.float32)})
    return store


def keys(store: Store) -> set[str]:
    return {entry.key for entry in store.entries()}


def test_listing_counts_by_stage(say: Say, store: Store) -> None:
    code, out, _ = say("ls")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["fit", "2"], ["load", "1"], ["checkpoints", "1"]]
    assert "4 files, " in out
    told = json.loads(say("ls", "--json")[1])
    assert told["folder"] == str(store.root)
    assert sum(row["bytes"] for row in told["stages"]) == store.size()
    assert say("ls", "--cache", "nowhere")[1].startswith("nowhere/artifacts: 0 files, 0 B")


def test_age_and_size_say_what_goes(say: Say, store: Store) -> None:
    labels = ("half", "load digits", "fit cnn on digits, r0", "fit mlp on digits, r0")
    half, load, cnn, mlp = map(digest_of, labels)
    assert "2 of 4 files would go" in say("gc", "--older-than", "5d", "--dry-run")[1]
    assert keys(store) == {half, load, cnn, mlp}
    assert "1 of 4 files removed" in say("gc", "--older-than", "15d")[1]
    assert keys(store) == {half, load, cnn}
    # both conditions: what is old, but no more than it takes
    assert "1 of 3 files removed" in say("gc", "--older-than", "12h", "--down-to", "10kB")[1]
    assert keys(store) == {half, load}
    assert "2 of 2 files removed" in say("gc", "--down-to", "0B")[1]


def test_what_a_board_needs_stays(say: Say, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "leaderboards" / "mine"
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text(SUITE)
    catalogue = discover()
    needed = set(make_plan(load_suite(folder / "suite.yaml", catalogue), catalogue).blueprint.stages)
    for key in needed:
        store.save(key, {}, {"label": "of mine"})
    assert f"4 of {4 + len(needed)} files removed" in say("gc", "--unneeded")[1]
    assert keys(store) == needed
    (folder / "suite.yaml").write_text(SUITE.replace("logistic", "logistics"))
    code, _, err = say("gc", "--unneeded")
    assert code == 2, "nobody knows what that board needs"
    assert "logistics" in err
    assert keys(store) == needed


def test_damaged_files_are_named_and_left(say: Say, store: Store) -> None:
    assert say("verify") == (0, f"4 of 4 files are whole in {store.root}\n", "")
    entry = next(store.entries())
    content = bytearray(entry.path.read_bytes())
    content[-1] ^= 1
    entry.path.write_bytes(content)
    code, out, err = say("verify")
    assert (code, err) == (1, f"damaged: {entry.path}\n")
    assert out.startswith("3 of 4 files are whole")
    assert entry.path.exists()


USER = """
import sys
from pathlib import Path
from sparring.store import Store
with Store(Path(sys.argv[1])).in_use():
    print("here", flush=True)
    sys.stdin.read()
"""


def test_nothing_goes_while_somebody_uses_the_store(say: Say, store: Store) -> None:
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == "here\n"
    for user in users:
        code, _, err = say("gc", "--down-to", "0B")
        assert (code, err) == (2, f"sparring: a run is using the artifact store {store.root}\n")
        user.kill()  # even so its claim ends
        user.communicate()
    assert len(keys(store)) == 4
    with store.alone(), pytest.raises(StoreInUse), store.alone():
        raise AssertionError("alone twice")
    assert say("gc", "--down-to", "0B")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say what may go"),
        (("--board", "digits"), "--board goes with --unneeded"),
        (("--older-than", "soon"), "'soon' should be a number with one of the units s, min"),
        (("--down-to", "5"), "'5' should be a number with one of the units B, kB"),
        (("--unneeded", "--board", "nowhere"), "there is no board 'nowhere'"),
    ],
)
def test_bad_conditions_remove_nothing(say: Say, store: Store, arguments: tuple[str, ...], sentence: str) -> None:
    code, _, err = say("gc", *arguments)
    assert code == 2
    assert sentence in err
    assert len(keys(store)) == 4
