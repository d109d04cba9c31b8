"""Records of several runs in one folder: nothing is lost, nothing contradicts in silence, nothing hostile gets in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from made_records import record, scored
from sparring import media
from sparring.journal import open_results
from sparring.merging import Merged, merge
from sparring.record import Failed, Record
from sparring.stage import FailureKind

OTHER_KEY = "f" * 64


def board(folder: Path, *records: Record) -> Path:
    with open_results(folder) as results:
        for made in records:
            results.append(made)
        results.consolidate()
    return folder


def merged(into: Path, *others: Path, wanted: dict[str, str] | None = None) -> Merged:
    told = Merged()
    with open_results(into) as results:
        for other in others:
            merge(results, open_results(other), wanted, told)
        results.consolidate()
    return told


def accuracies(folder: Path) -> dict[str, float]:
    found = open_results(folder).by_cell
    return {
        cell: made.outcome.metrics["clean-accuracy"] for cell, made in found.items() if made.outcome.state == "scored"
    }


def of(attack: str, accuracy: float, **changes: str) -> Record:
    return record(attack, outcome=scored({"clean-accuracy": accuracy})).model_copy(update=changes)


def test_shards_make_the_whole(tmp_path: Path) -> None:
    records = [of(attack, 0.5) for attack in ("a", "b", "c", "d")]
    whole = board(tmp_path / "whole", *records)
    first, second = board(tmp_path / "1", *records[::2]), board(tmp_path / "2", *records[1::2])
    told = merged(tmp_path / "joined", first, second)
    assert (told.new, told.same, told.renewed, told.conflicts) == (4, 0, [], [])
    name = Path("results/cells.jsonl")
    assert (tmp_path / "joined" / name).read_bytes() == (whole / name).read_bytes()
    assert merged(tmp_path / "joined", first).same == 2, "again, nothing is new"


def test_two_answers_to_one_question_are_a_conflict_and_the_first_stays(tmp_path: Path) -> None:
    ours, theirs = board(tmp_path / "1", of("a", 0.5)), board(tmp_path / "2", of("a", 0.6))
    told = merged(ours, theirs)
    assert told.conflicts == [of("a", 0.5).cell.id]
    assert list(accuracies(ours).values()) == [0.5]


def test_the_record_that_the_suite_asks_for_stays_whatever_the_order(tmp_path: Path) -> None:
    new, old = of("a", 0.5), of("a", 0.6, key=OTHER_KEY)
    wanted = {new.cell.id: new.key}
    for number, pair in enumerate([(new, old), (old, new)]):
        folders = [board(tmp_path / f"{number}-{i}", made) for i, made in enumerate(pair)]
        told = merged(*folders, wanted=wanted)
        assert list(accuracies(folders[0]).values()) == [0.5]
        assert len(told.renewed) == number


def test_a_success_takes_the_place_of_a_failure_and_not_the_other_way(tmp_path: Path) -> None:
    failed = Failed(kind=FailureKind.TIMEOUT, stage="fit", error="too slow")
    folders = [board(tmp_path / "1", record("a", outcome=failed)), board(tmp_path / "2", of("a", 0.5))]
    assert not merged(*folders).conflicts
    assert list(accuracies(folders[0]).values()) == [0.5]
    merged(folders[0], board(tmp_path / "3", record("a", outcome=failed)))
    assert list(accuracies(folders[0]).values()) == [0.5]


def kept(folder: Path, values: np.ndarray) -> str:
    content = media.packed({"x": values}, {})
    media.publish(folder / "results", content)
    return media.digest(content)


def test_kept_files_come_along_if_they_are_what_they_say(tmp_path: Path) -> None:
    good, forged, gone = (kept(tmp_path / "theirs", np.full(3, value)) for value in (1.0, 2.0, 3.0))
    folder = tmp_path / "theirs" / "results" / "media"
    (folder / f"{forged}.safetensors").write_bytes(b"something else")
    (folder / f"{gone}.safetensors").unlink()
    outcome = scored({"clean-accuracy": 0.5}, media={"state": good, "curves": forged, "projection": gone})
    theirs = board(tmp_path / "theirs", record("a", outcome=outcome))
    told = merged(tmp_path / "ours", theirs)
    assert sorted(told.missing) == sorted([forged, gone])
    assert [path.stem for path in (tmp_path / "ours/results/media").iterdir()] == [good]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    content = media.packed({"x": np.ones(2)}, {})
    secret.write_bytes(content.tobytes())
    folder = tmp_path / "theirs" / "results" / "media"
    folder.mkdir(parents=True)
    (folder / f"{media.digest(content)}.safetensors").symlink_to(secret)
    outcome = scored({"clean-accuracy": 0.5}, media={"state": media.digest(content)})
    told = merged(tmp_path / "ours", board(tmp_path / "theirs", record("a", outcome=outcome)))
    assert told.missing == [media.digest(content)]
