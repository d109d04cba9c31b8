"""The results folder: what is appended is never lost, what is bad is named, what is equal leaves no diff."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sparring.journal import CELLS, JOURNAL, REJECTED, Results, ResultsUnwritable, encoded, open_results
from sparring.record import CellRecord, PluginUse, Provenance, Record, Scored


def made(attack: str = "none", accuracy: float = 0.9, key: str = "a", cpu: str = "one", seconds: float = 1.0) -> Record:
    use = PluginUse(selector="x", name="x")
    cell = CellRecord(
        id=f"digits/cnn/{attack}/none/r0",
        dataset=use,
        victim=use,
        attack=use,
        defence=use,
        threat={},
        when="never",
        attack_label=attack,
        defence_label="none",
        repetition=0,
    )
    provenance = Provenance(
        suite_digest="0", root_seed=0, sparring="0", python="3", platform="l", cpu=cpu, device="cpu", threads=1
    )
    outcome = Scored(metrics={"clean-accuracy": accuracy}, confusion=[[1]])
    return Record(key=key * 64, cell=cell, outcome=outcome, seconds={"fit": seconds}, provenance=provenance)


def names(results: Results) -> list[str]:
    return sorted(record.cell.attack_label for record in results.by_cell.values())


def filled(folder: Path, *records: Record) -> None:
    """A consolidated results folder."""
    with open_results(folder) as results:
        for record in records:
            results.append(record)
        results.consolidate()


def test_appended_records_are_there_for_the_next_reader(tmp_path: Path) -> None:
    with open_results(tmp_path) as results:
        results.append(made("fgsm"))
        assert open_results(tmp_path).by_cell == results.by_cell
    assert open_results(tmp_path).by_key["a" * 64] == made("fgsm")
    assert open_results(tmp_path).problems == []


def test_nothing_is_written_by_opening(tmp_path: Path) -> None:
    assert open_results(tmp_path / "new").by_cell == {}
    assert not (tmp_path / "new").exists()


def test_consolidated_file_is_sorted_and_the_same_whatever_the_order(tmp_path: Path) -> None:
    records = [made(name) for name in ("pgd", "fgsm", "none")]
    filled(tmp_path / "a", *records)
    filled(tmp_path / "b", *reversed(records))
    text = (tmp_path / "a/results" / CELLS).read_bytes()
    assert text == (tmp_path / "b/results" / CELLS).read_bytes()
    assert [json.loads(line)["cell"]["attack_label"] for line in text.splitlines()] == ["fgsm", "none", "pgd"]
    assert text == b"".join(sorted(text.splitlines(keepends=True), key=lambda line: json.loads(line)["cell"]["id"]))
    assert not (tmp_path / "a/results" / JOURNAL).exists()


def test_unchanged_file_is_not_touched(tmp_path: Path) -> None:
    filled(tmp_path, made())
    file = tmp_path / "results" / CELLS
    os.utime(file, ns=(1, 1))
    with open_results(tmp_path) as results:
        results.append(made(cpu="another", seconds=9))
        assert results.consolidate() is False
    assert file.stat().st_mtime_ns == 1


def test_rerun_with_the_same_outcome_keeps_the_old_line_and_another_outcome_replaces_it(tmp_path: Path) -> None:
    filled(tmp_path, made(cpu="one"))
    filled(tmp_path, made(cpu="two", seconds=3))
    assert open_results(tmp_path).by_cell[made().cell.id] == made(cpu="one")
    filled(tmp_path, made(cpu="two", accuracy=0.8))
    assert open_results(tmp_path).by_cell[made().cell.id] == made(cpu="two", accuracy=0.8)


def test_journal_wins_over_the_file_and_superseded_keys_stay_known(tmp_path: Path) -> None:
    filled(tmp_path, made(key="a"))
    with open_results(tmp_path) as results:
        results.append(made(key="b", accuracy=0.5))
    again = open_results(tmp_path)
    assert again.by_cell[made().cell.id].key == "b" * 64
    assert set(again.by_key) == {"a" * 64, "b" * 64}


def test_consolidate_keeps_only_cells_of_the_suite(tmp_path: Path) -> None:
    filled(tmp_path, made("none"), made("fgsm"))
    with open_results(tmp_path) as results:
        results.consolidate(keep={made("fgsm").cell.id})
    assert names(open_results(tmp_path)) == ["fgsm"]


def test_journal_cut_at_every_byte_of_its_last_two_lines_keeps_every_whole_record(tmp_path: Path) -> None:
    lines = [encoded(made(name)) for name in ("none", "fgsm", "pgd")]
    whole = b"".join(lines)
    journal = tmp_path / "results" / JOURNAL
    journal.parent.mkdir()
    for end in range(len(lines[0]), len(whole) + 1):
        journal.write_bytes(whole[:end])
        full = sum(end >= len(b"".join(lines[: i + 1])) - 1 for i in range(3))  # the newline itself may be missing
        results = open_results(tmp_path)
        assert names(results) == sorted(["none", "fgsm", "pgd"][:full]), end
        torn = end not in (len(whole[:-1]), len(whole), *(len(b"".join(lines[:i])) - j for i in (1, 2) for j in (0, 1)))
        assert [bad.torn for bad in results.problems] == [True] * torn, end


@pytest.mark.parametrize("missing", [1, 2, 300])
def test_run_after_a_torn_write_goes_on_and_leaves_nothing_behind(tmp_path: Path, missing: int) -> None:
    journal = tmp_path / "results" / JOURNAL
    journal.parent.mkdir()
    journal.write_bytes((encoded(made("none")) + encoded(made("fgsm")))[:-missing])
    with open_results(tmp_path) as results:
        results.append(made("pgd"))
    assert set(names(open_results(tmp_path))) >= {"none", "pgd"}
    assert open_results(tmp_path).problems == []
    with open_results(tmp_path) as results:
        results.consolidate()
    assert not (tmp_path / "results" / REJECTED).exists()


def test_killed_writer_loses_no_record_it_reported(tmp_path: Path) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_journal import made
from sparring.journal import open_results
results = open_results(Path({str(tmp_path)!r}))
for i in range(1000):
    results.append(made(f"attack-{{i:04}}"), lambda i=i: os.write(1, b"%d\\n" % i))
    if i == 300:
        os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    reported = [int(line) for line in done.stdout.split()]
    assert reported == list(range(len(reported)))
    assert len(reported) >= 300 - 32
    assert names(open_results(tmp_path)) == [f"attack-{i:04}" for i in range(301)]


def test_durable_is_called_within_a_moment_and_by_flush_at_once(tmp_path: Path) -> None:
    with open_results(tmp_path) as results:
        told: list[str] = []
        late = threading.Event()
        results.append(made("none"), lambda: told.append("none"))
        results.append(made("fgsm"), lambda: told.append("fgsm"))
        results.append(made("pgd"), late.set)
        assert told[0] == "none"
        assert late.wait(5)
        results.append(made("cw"), lambda: told.append("cw"))
        results.flush()
        assert told == ["none", "fgsm", "cw"]


GOOD = encoded(made("fgsm"))
NESTED = b"[" * 5000 + b"]" * 5000


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (GOOD[: len(GOOD) // 2], "not JSON"),
        (GOOD.replace(b'"schema_version":3', b'"schema_version":4').rstrip(), "schema_version"),
        (GOOD.replace(b":0.9", b":NaN").rstrip(), "clean-accuracy"),
        (GOOD.replace(b'"repetition":0', b'"repetition":"0"').rstrip(), "repetition"),
        (GOOD.replace(b'"device"', b'"\\u001b[31mred":1,"device"').rstrip(), "�[31mred"),
        (GOOD.replace(b"[[1]]", b"[[1,2]]").rstrip(), "square"),
        (b'{"key": "\xff"}', "not UTF-8 at byte 9"),
        (b"<<<<<<< HEAD", "conflict marker"),
        (NESTED, "not JSON"),
        (b"null", "should be an object"),
    ],
)
def test_bad_line_is_named_and_the_good_ones_stay(tmp_path: Path, bad: bytes, why: str) -> None:
    file = tmp_path / "results" / CELLS
    file.parent.mkdir()
    file.write_bytes(encoded(made("none")) + bad + b"\n" + encoded(made("pgd")))
    results = open_results(tmp_path)
    (problem,) = results.problems
    assert str(problem).startswith("results/cells.jsonl:2: ")
    assert why in str(problem)
    assert str(problem).isprintable()
    assert names(results) == ["none", "pgd"]
    for _ in range(2):  # once is enough for the second consolidation, too
        with open_results(tmp_path) as writer:
            writer.consolidate()
        assert (tmp_path / "results" / REJECTED).read_bytes() == bad + b"\n"
    assert open_results(tmp_path).problems == []


def test_over_long_line_is_named_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.journal.LONGEST_LINE", 2**20)
    file = tmp_path / "results" / CELLS
    file.parent.mkdir()
    file.write_bytes(encoded(made("none")) + b"x" * (5 * 2**20) + b"\n" + encoded(made("pgd")))
    results = open_results(tmp_path)
    assert [str(bad) for bad in results.problems] == ["results/cells.jsonl:2: longer than 1 MiB"]
    assert names(results) == ["none", "pgd"]
    results.consolidate()
    assert (tmp_path / "results" / REJECTED).stat().st_size == 5 * 2**20 + 1


def test_other_result_files_are_read_and_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, made("none"))
    other = tmp_path / "results" / "cluster.jsonl"
    other.write_bytes(encoded(made("fgsm")) + b"broken\n")
    (tmp_path / "results" / "folder.jsonl").mkdir()
    with open_results(tmp_path) as results:
        assert names(results) == ["fgsm", "none"]
        results.consolidate()
        assert [str(bad).split(": ")[0] for bad in results.problems] == ["results/cluster.jsonl:2"]
    assert other.read_bytes().endswith(b"broken\n")
    assert len((tmp_path / "results" / CELLS).read_bytes().splitlines()) == 2


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(ResultsUnwritable, match=r"cannot write results in .*results: "):
        open_results(tmp_path).append(made())


def test_second_writer_is_refused_and_sees_the_first_ones_records_later(tmp_path: Path) -> None:
    late = open_results(tmp_path)
    with open_results(tmp_path) as first:
        first.append(made("none"))
        with pytest.raises(ResultsUnwritable, match="another run"):
            late.append(made("fgsm"))
        first.consolidate()
    late.append(made("fgsm"))
    late.consolidate()
    assert names(open_results(tmp_path)) == ["fgsm", "none"]


def test_full_disk_stops_cleanly_and_keeps_what_was_written(tmp_path: Path) -> None:
    """A limit on file sizes makes the kernel refuse a write half-way, as a full disk does."""
    program = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_journal import made
from sparring.journal import ResultsUnwritable, encoded, open_results
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = len(encoded(made("attack-0"))) * 5 // 2
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
results = open_results(Path({str(tmp_path)!r}))
try:
    for i in range(9):
        results.append(made(f"attack-{{i}}"))
except ResultsUnwritable as error:
    print(i, error)
"""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.startswith("2 cannot write results in ")
    results = open_results(tmp_path)
    assert names(results) == ["attack-0", "attack-1"]
    assert results.problems == []


def test_lines_of_version_1_are_read_and_written_back_as_they_were(tmp_path: Path) -> None:
    line = json.loads(encoded(made()))
    line["schema_version"] = 1
    text = json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert b"source" not in text
    file = tmp_path / "results" / CELLS
    file.parent.mkdir()
    file.write_bytes(text)
    with open_results(tmp_path) as results:
        assert (len(results.by_cell), results.problems) == (1, [])
        assert not results.consolidate()
    assert file.read_bytes() == text


def test_what_is_computed_anew_in_a_later_schema_says_more(tmp_path: Path) -> None:
    old, new = made().model_copy(update={"schema_version": 1}), sourced("0123456789abcdef")
    filled(tmp_path, old, new)
    assert open_results(tmp_path).by_cell[new.cell.id] == new
    filled(tmp_path, old)
    assert open_results(tmp_path).by_cell[new.cell.id] == new


def sourced(digest: str) -> Record:
    made_so = made()
    use = made_so.cell.attack.model_copy(update={"source": digest})
    return made_so.model_copy(update={"cell": made_so.cell.model_copy(update={"attack": use})})


def test_a_record_keeps_the_source_of_its_plugins(tmp_path: Path) -> None:
    filled(tmp_path, sourced("0123456789abcdef"))
    (record,) = open_results(tmp_path).by_cell.values()
    assert (record.cell.attack.source, record.cell.victim.source) == ("0123456789abcdef", None)
    line = encoded(sourced("0123456789abcdef")).replace(b"0123456789abcdef", b"no digest")
    with pytest.raises(ValueError, match=r"attack\.source"):
        Record.model_validate_json(line)
