"""The engines: one outcome for every goal, whatever the stages do; every stage once; nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_stages import execute, graph, key, stage, times_run

from sparring.engine import DaskEngine, Engine, EngineUnavailable, LocalEngine, SerialEngine
from sparring.graph import Graph
from sparring.stage import Broken, Done, FailureKind, StageEvent, StageOutcome, WorkerSettings
from sparring.store import StoreFull

ENGINES: dict[str, Callable[[], Engine]] = {
    "serial": lambda: SerialEngine(imports=()),
    "local": lambda: LocalEngine(workers=2, imports=()),
}
SOON = 2.0  # seconds in which everything must be gone
MIB = 1 << 20


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    def lasting() -> set[int]:
        return {p.pid for p in psutil.Process().children(recursive=True) if "resource_tracker" not in _command(p)}

    before = lasting()
    yield
    assert _soon(lambda: lasting() <= before), [_command(psutil.Process(pid)) for pid in lasting() - before]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _soon(condition: Callable[[], bool], seconds: float = SOON) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def run(
    engine: Engine, one: Graph, folder: Path, seconds: float | None = None, memory: int | None = None
) -> tuple[dict[str, StageOutcome], list[StageEvent]]:
    """Outcomes by the goals' labels, and all events."""
    events: list[StageEvent] = []
    settings = WorkerSettings(store=folder, seconds=seconds, memory=memory)
    outcomes: dict[str, StageOutcome] = {}
    for goal, outcome in engine.run(one, execute, settings, events.append):
        assert goal not in outcomes
        outcomes[goal] = outcome
    return {one.stages[goal].label: outcome for goal, outcome in outcomes.items()}, events


def ended(events: list[StageEvent]) -> list[str]:
    return sorted(event.label for event in events if event.outcome is not None)


def diamonds(count: int) -> Graph:
    stages = [stage("load")]
    for n in range(count):
        stages += [stage(f"fit{n}", "load"), stage(f"left{n}", f"fit{n}"), stage(f"right{n}", f"fit{n}", "load")]
        stages += [stage(f"both{n}", f"left{n}", f"right{n}", f"left{n - 1}" if n else "load")]
    return graph(stages, [f"both{n}" for n in range(count)] + ["right0", "both0"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SerialEngine(imports=()),
        lambda: LocalEngine(workers=1, window=1, imports=()),
        lambda: LocalEngine(workers=2, window=5, imports=()),
        lambda: LocalEngine(workers=2, imports=()),
    ],
    ids=["serial", "one worker, one at a time", "two workers, small window", "two workers"],
)
def test_every_stage_runs_once(make: Callable[[], Engine], tmp_path: Path) -> None:
    one = diamonds(12)
    outcomes, events = run(make(), one, tmp_path)
    assert set(outcomes) == {one.stages[goal].label for goal in one.goals}
    assert all(isinstance(outcome, Done) and outcome.value == {"ran": True} for outcome in outcomes.values())
    assert times_run(tmp_path) == dict.fromkeys((found.label for found in one.stages.values()), 1)
    assert ended(events) == sorted(found.label for found in one.stages.values())


BREAKING = {
    "raise": (FailureKind.ERROR, "ValueError: several lines of xxx"),
    "exit": (FailureKind.ERROR, "SystemExit: no more"),
    "rule": (FailureKind.BUDGET, "RuleBroken: attack pgd moved a pixel by 0.5; allowed is 0.3"),
    "queries": (FailureKind.BUDGET, "QueryBudgetExceeded: too many"),
    "deadline": (FailureKind.TIMEOUT, "ran longer than 4 s"),
    "loop": (FailureKind.TIMEOUT, "ran longer than 4 s"),
    "hog": (FailureKind.KILLED, "exceeded the memory limit of "),
}
DEADLY = {
    "die": (FailureKind.KILLED, "its process exited with status 3"),
    "crash": (FailureKind.KILLED, "its process died (signal 11, SIGSEGV)"),
    "regex": (FailureKind.TIMEOUT, "ran longer than 4 s"),
    "family_hog": (FailureKind.KILLED, "exceeded the memory limit of "),
    "start": (FailureKind.TIMEOUT, "ran longer than 4 s"),
    "unpicklable": (FailureKind.ERROR, "AttributeError: Can't pickle"),
}


@pytest.mark.parametrize(
    ("name", "expected"), [("serial", BREAKING), ("local", BREAKING | DEADLY)], ids=["serial", "local"]
)
def test_every_way_to_fail_breaks_its_own_cells_only(
    name: str, expected: dict[str, tuple[FailureKind, str]], tmp_path: Path
) -> None:
    acts = [*expected, "nothing", "print"]
    stages = [stage("load")]
    for act in acts:
        stages += [stage(act, "load", act=act), stage(f"after {act}", act), stage(f"last {act}", act, f"after {act}")]
    one = graph(stages, [f"{when} {act}" for act in acts for when in ("after", "last")])
    limit = 500 * MIB + (psutil.Process().memory_info().rss if name == "serial" else 0)
    outcomes, events = run(ENGINES[name](), one, tmp_path, seconds=4, memory=limit)

    for act in acts:
        for goal in (f"after {act}", f"last {act}"):
            outcome = outcomes[goal]
            if act not in expected:
                assert isinstance(outcome, Done), outcome
                continue
            assert isinstance(outcome, Broken), outcome
            kind, error = expected[act]
            assert (outcome.kind, outcome.label, outcome.key) == (kind, act, key(act))
            assert outcome.error.startswith(error)
            assert "\n" not in outcome.error
            assert len(outcome.error) <= 500
    assert set(times_run(tmp_path).values()) == {1}
    assert ended(events) == sorted(times_run(tmp_path))
    if name == "local":
        traces = {label[6:]: found.traceback for label, found in outcomes.items() if isinstance(found, Broken)}
        assert "the last words" in traces["die"]
        assert "Segmentation fault" in traces["crash"]
        assert "in _loop" in traces["loop"]
        assert "raise ValueError" in traces["raise"]
        assert _soon(lambda: _gone(int((tmp_path / "grandchild").read_text())))


def test_a_broken_stage_of_a_fused_chain_is_named_and_those_before_it_count(engine: Engine, tmp_path: Path) -> None:
    stages = [stage("a"), stage("b", "a", act="raise"), stage("c", "b"), stage("other")]
    outcomes, events = run(engine, graph(stages, ["c", "other"]), tmp_path)
    broken = outcomes["c"]
    assert isinstance(broken, Broken)
    assert (broken.label, broken.key) == ("b", key("b"))
    assert isinstance(outcomes["other"], Done)
    assert times_run(tmp_path) == {"a": 1, "b": 1, "other": 1}
    assert ended(events) == ["a", "b", "other"]


def test_the_time_limit_is_of_one_stage_not_of_a_chain(engine: Engine, tmp_path: Path) -> None:
    stages = [stage("a", act="wait", seconds=0.4), stage("b", "a", act="wait", seconds=0.4)]
    outcomes, _ = run(engine, graph(stages, ["b"]), tmp_path, seconds=0.6)
    assert isinstance(outcomes["b"], Done)


def test_results_come_as_soon_as_they_are_known(engine: Engine, tmp_path: Path) -> None:
    stages = [stage("load"), stage("quick", "load"), stage("slow", "load", act="wait_for_file", file="go on")]
    outcomes = {}
    settings = WorkerSettings(store=tmp_path)
    for goal, outcome in engine.run(graph(stages, ["quick", "slow"]), execute, settings, lambda event: None):
        outcomes[goal] = outcome
        (tmp_path / "go on").touch()
    assert list(outcomes) == [key("quick"), key("slow")]


def test_whole_cells_finish_early(engine: Engine, tmp_path: Path) -> None:
    """What many wait for does not keep back the cells whose turn it is."""
    stages, goals = [stage("load")], []
    for n in range(30):
        stages += [stage(f"fit{n}", "load", act="wait", seconds=0.15)]
        stages += [stage(f"left{n}", f"fit{n}"), stage(f"right{n}", f"fit{n}")]
        goals += [f"left{n}", f"right{n}"]
    _, events = run(engine, graph(stages, goals), tmp_path)
    order = [event.label for event in events if event.outcome is not None]
    for n in range(10):
        assert order.index(f"right{n}") < order.index(f"fit{n + 20}")


def test_starts_are_told_before_ends(engine: Engine, tmp_path: Path) -> None:
    _, events = run(engine, graph([stage("a", act="wait", seconds=0.3)], ["a"]), tmp_path)
    assert [(event.label, event.outcome is None) for event in events] == [("a", True), ("a", False)]


def test_a_full_disk_stops_the_run(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(StoreFull, match=str(tmp_path)):
        run(engine, graph([stage("a", act="full"), stage("b")], ["a", "b"]), tmp_path)


def test_stages_share_processes_that_have_the_threads_asked_for(tmp_path: Path) -> None:
    stages = [stage(str(n), act="environment") for n in range(6)]
    outcomes, _ = run(LocalEngine(workers=2, imports=()), graph(stages, map(str, range(6))), tmp_path)
    values = [outcome.value for outcome in outcomes.values() if isinstance(outcome, Done) and outcome.value]
    assert {value["threads"] for value in values} == {"1"}
    assert 1 <= len({value["pid"] for value in values}) <= 2
    assert not any(value["torch"] for value in values)


forks = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux only")


def _values(outcomes: dict[str, StageOutcome]) -> dict[str, dict[str, Any]]:
    return {label: dict(found.value) for label, found in outcomes.items() if isinstance(found, Done) and found.value}


@forks
def test_what_children_import_is_imported_once_for_all_of_them(tmp_path: Path) -> None:
    stages = [stage(f"wait{n}", act="parent", seconds=1) for n in range(2)]
    stages += [stage("die", act="die"), stage("last", act="parent", seconds=0)]
    outcomes, _ = run(LocalEngine(workers=2), graph(stages, ["wait0", "wait1", "die", "last"]), tmp_path)
    assert isinstance(outcomes["die"], Broken)
    values = _values(outcomes).values()
    assert len(values) == 3
    assert len({value["parent"] for value in values}) == 1
    assert len({value["pid"] for value in values}) >= 2
    assert os.getpid() not in {value["parent"] for value in values}


def test_what_starts_threads_is_imported_by_every_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "starts_threads.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    engine = LocalEngine(workers=1, imports=("starts_threads",))
    outcomes, _ = run(engine, graph([stage("a", act="parent", seconds=0)], ["a"]), tmp_path)
    assert _values(outcomes)["a"]["parent"] == os.getpid()


@forks
def test_a_stage_that_kills_its_parent_harms_nobody(tmp_path: Path) -> None:
    stages = [stage("other", act="wait_for_file", file="go on"), stage("kill", act="kill_parent", spared=os.getpid())]
    stages += [stage("die", "kill", act="die"), stage("after", "kill", act="parent", seconds=0)]
    outcomes: dict[str, StageOutcome] = {}
    one = graph(stages, ["die", "after", "other"])
    engine = LocalEngine(workers=2, imports=())
    for goal, outcome in engine.run(one, execute, WorkerSettings(store=tmp_path), lambda event: None):
        outcomes[one.stages[goal].label] = outcome
        if len(outcomes) == 2:
            (tmp_path / "go on").touch()
    assert isinstance(outcomes["die"], Broken)
    assert isinstance(outcomes["other"], Done)
    assert _values(outcomes)["after"]["parent"] == os.getpid()


def test_the_serial_engine_outside_the_main_thread(tmp_path: Path) -> None:
    found: list[StageOutcome] = []

    def work() -> None:
        found.extend(run(SerialEngine(imports=()), graph([stage("a")], ["a"]), tmp_path, seconds=5)[0].values())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(outcome) for outcome in found] == [Done]


def test_a_process_that_cannot_start_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="No module named 'nowhere_to_be_found'"):
        run(LocalEngine(workers=1, imports=("nowhere_to_be_found",)), graph([stage("a")], ["a"]), tmp_path)


@pytest.mark.parametrize(("deaths", "runs"), [(1, True), (3, True), (9, False)])
def test_processes_killed_while_they_start_are_replaced_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, runs: bool
) -> None:
    for number in range(deaths):
        (tmp_path / f"life{number}").touch()
    (tmp_path / "mortal.py").write_text(f"""
import os, pathlib
lives = sorted(pathlib.Path({str(tmp_path)!r}).glob("life*"))
if lives:
    lives[0].unlink()
    os.kill(os.getpid(), 9)
""")
    monkeypatch.syspath_prepend(tmp_path)
    engine, one = LocalEngine(workers=1, imports=("mortal",)), graph([stage("a")], ["a"])
    if runs:
        assert isinstance(run(engine, one, tmp_path)[0]["a"], Done)
    else:
        with pytest.raises(EngineUnavailable, match="did not start"):
            run(engine, one, tmp_path)


def test_abandoning_a_run_stops_it_at_once(tmp_path: Path) -> None:
    stages = [stage("quick"), stage("start", act="start"), stage("loop", act="loop")]
    settings = WorkerSettings(store=tmp_path)
    running = LocalEngine(workers=2, imports=()).run(
        graph(stages, ["quick", "start", "loop"]), execute, settings, lambda event: None
    )
    next(running)
    assert _soon((tmp_path / "grandchild").exists, 10)
    begun = time.monotonic()
    running.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 2
    assert _soon(lambda: _gone(int((tmp_path / "grandchild").read_text())))


def test_a_run_is_reached_from_this_machine_only_and_leaves_no_thread(tmp_path: Path) -> None:
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate() if not thread.name.startswith("Dask-Offload")}

    before = threads()
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        stages = [stage("quick"), stage("loop", act="loop")]
        running = LocalEngine(workers=2, imports=()).run(
            graph(stages, ["quick", "loop"]), execute, WorkerSettings(store=tmp_path / turn), lambda event: None
        )
        next(running)
        assert {found.laddr.ip for found in psutil.Process().net_connections()} <= {"127.0.0.1"}
        running.close()  # type: ignore[attr-defined]
        assert threads() == before
        assert not psutil.Process().net_connections()


DRIVER = """
import sys
from pathlib import Path
from engine_stages import execute, graph, stage
from sparring.engine import LocalEngine
from sparring.stage import WorkerSettings

if __name__ == "__main__":
    stages = [stage("start", act="start"), stage("regex", act="regex"), stage("quick")]
    running = LocalEngine(workers=2, imports=()).run(
        graph(stages, ["start", "regex", "quick"]), execute, WorkerSettings(store=Path(sys.argv[1])), lambda event: None
    )
    try:
        for goal, outcome in running:
            print("known", goal, flush=True)
    except KeyboardInterrupt:
        running.close()
        raise SystemExit(130)
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver in a session of its own, as in a terminal, with stages that never end."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert _soon(lambda: {"start", "regex"} <= set(times_run(tmp_path)) and (tmp_path / "grandchild").exists(), 20)
    yield process
    process.kill()
    process.communicate()


def _tree(process: subprocess.Popen[str], folder: Path) -> list[int]:
    found = [p.pid for p in psutil.Process(process.pid).children(recursive=True)]
    assert int((folder / "grandchild").read_text()) in found
    assert len(found) == 6  # the template, two children, their shells, the grandchild
    return found


def test_nothing_survives_a_killed_driver(driver: subprocess.Popen[str], tmp_path: Path) -> None:
    tree = _tree(driver, tmp_path)
    driver.kill()
    assert _soon(lambda: all(_gone(pid) for pid in tree)), [pid for pid in tree if not _gone(pid)]


def test_interrupting_the_terminal_ends_everything_without_noise(driver: subprocess.Popen[str], tmp_path: Path) -> None:
    tree = _tree(driver, tmp_path)
    os.killpg(driver.pid, signal.SIGINT)  # what Ctrl-C does: the whole foreground group gets it
    begun = time.monotonic()
    _, errors = driver.communicate(timeout=20)
    assert time.monotonic() - begun < SOON
    assert (driver.returncode, errors) == (130, "")
    assert _soon(lambda: all(_gone(pid) for pid in tree))


@pytest.fixture(params=[2], ids=["two threads"])
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Dask cluster that somebody else runs: two worker processes, of two threads unless a test wants fewer."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=request.param, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as found:
        yield found.scheduler_address


@pytest.mark.e2e
def test_a_running_cluster_gives_the_same_outcomes_again_and_again(cluster: str, tmp_path: Path) -> None:
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        stages = [stage("load"), stage("die", "load", act="die"), stage("loop", "load", act="loop")]
        stages += [stage(str(n), "load") for n in range(20)]
        goals = [one.label for one in stages]
        outcomes, _ = run(DaskEngine(cluster, imports=()), graph(stages, goals), tmp_path / turn, seconds=0.5)
        broken = {label: found.kind for label, found in outcomes.items() if isinstance(found, Broken)}
        assert broken == {"die": FailureKind.KILLED, "loop": FailureKind.TIMEOUT}
        assert times_run(tmp_path / turn) == dict.fromkeys(goals, 1)
        assert _soon(lambda: not [p for p in psutil.Process().children(True) if "engine.child" in _command(p)])


@pytest.mark.e2e
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_killed_worker_costs_nothing_but_time(cluster: str, tmp_path: Path) -> None:
    stages = [stage(f"wait{n}", act="wait", seconds=0.2) for n in range(10)]
    settings = WorkerSettings(store=tmp_path)
    running = DaskEngine(cluster, imports=()).run(
        graph(stages, [one.label for one in stages]), execute, settings, lambda event: None
    )
    outcomes = [next(running)[1]]
    workers = [p for p in psutil.Process().children() if "spawn_main" in _command(p)]
    workers[0].kill()
    outcomes += [outcome for _, outcome in running]
    assert [type(outcome) for outcome in outcomes] == [Done] * 10
    counts = times_run(tmp_path)
    assert len(counts) == 10
    assert sum(counts.values()) <= 12


@pytest.mark.e2e
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_stage_that_kills_every_worker_is_given_up(cluster: str, tmp_path: Path) -> None:
    stages = [stage("a"), stage("b", "a", act="kill_worker"), stage("c", "b"), *(stage(str(n)) for n in range(20))]
    outcomes, events = run(DaskEngine(cluster, imports=()), graph(stages, ["c", *map(str, range(20))]), tmp_path)
    broken = outcomes.pop("c")
    assert isinstance(broken, Broken)
    assert (broken.kind, broken.label) == (FailureKind.KILLED, "b")
    assert broken.error == "every worker that ran it was killed"
    assert [type(outcome) for outcome in outcomes.values()] == [Done] * 20
    assert len(ended(events)) == len(set(ended(events)))


@pytest.mark.e2e
def test_clusters_that_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("sparring.engine.cluster.PATIENCE", 1.0)
    for address in ("tcp://127.0.0.1:1", "nonsense://here"):
        with pytest.raises(EngineUnavailable, match=address):
            run(DaskEngine(address), graph([stage("a")], ["a"]), tmp_path)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None, silence_logs=50) as empty,
        pytest.raises(EngineUnavailable, match="has no workers"),
    ):
        run(DaskEngine(empty.scheduler_address), graph([stage("a")], ["a"]), tmp_path)
