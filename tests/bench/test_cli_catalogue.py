"""The commands that need no graph, as a user runs them: in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import py_compile
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import ZOO

REPOSITORY = Path(__file__).parents[2]
ALLOWED = "SPARRING_PLUGINS allows toy-zoo; all others are left out"
MAIN = "from sparring.cli.main import main; main()"


@pytest.fixture
def sparring(install):
    """`sparring(*args)`: the finished process, with the toy distribution (and what else was installed) alone."""
    site = install("toy-zoo", ZOO, version="2.1")

    def _sparring(*args, allowed="toy-zoo", code=MAIN):
        path = os.pathsep.join([str(REPOSITORY / "bench"), str(site)])
        env = {**os.environ, "PYTHONPATH": path} | ({} if allowed is None else {"SPARRING_PLUGINS": allowed})
        return subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, timeout=60)

    return _sparring


def test_list_names_every_plugin_with_its_origin(sparring):
    done = sparring("list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line and line[0] != " "] == [
        "datasets",
        "victims",
        "attacks",
        "defences",
        "metrics",
        ALLOWED,
    ]
    assert "  pgd             toy-zoo 2.1  Projected gradient descent." in lines
    assert sparring("list", "metrics").stdout == f"metrics\n  accuracy  toy-zoo 2.1  Right.\n\n{ALLOWED}\n"


def test_list_says_nothing_of_an_allow_list_where_there_is_none(sparring):
    assert "SPARRING_PLUGINS allows" not in sparring("list", allowed=None).stdout
    assert json.loads(sparring("list", "--json", allowed=None).stdout)["allowed"] is None
    assert "\nSPARRING_PLUGINS allows nothing; all others are left out\n" in sparring("list", allowed="").stdout


def test_list_names_what_the_allow_list_misspells(sparring):
    told = sparring("list", "metrics", allowed="toy-zoo,tiy-zoo").stdout
    assert "\nSPARRING_PLUGINS allows tiy-zoo, toy-zoo; all others are left out\n" in told
    assert "names 'tiy-zoo', which is not installed; did you mean 'toy-zoo'?" in told


def test_list_is_folded_to_a_terminal(install):
    """Summaries and problems go on below themselves; where the output is no terminal, each is one line."""
    long = '"A summary of many words, which is longer than what is left of a line of eighty columns."'
    site = install("toy-zoo", ZOO.replace('"Projected gradient descent."', long), version="2.1")
    install("broken-one", f"raise RuntimeError({long})", version="0.1")
    path = os.pathsep.join([str(REPOSITORY / "bench"), str(site)])
    env = {**os.environ, "PYTHONPATH": path, "SPARRING_PLUGINS": "toy-zoo,broken-one", "COLUMNS": "80"}
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", MAIN, "list"], env=env, stdout=theirs, stdin=theirs) as process:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # Linux's way of saying that the other side has closed
            while part := os.read(ours, 4096):
                told += part
    os.close(ours)
    assert process.returncode == 0
    lines = told.decode().splitlines()
    assert max(map(len, lines)) <= 80
    (number,) = [number for number, line in enumerate(lines) if line.startswith("  pgd ")]
    assert lines[number + 1].startswith(" " * lines[number].index("A summary"))
    assert lines[-2].startswith("  broken-one 0.1 (plugins): cannot be imported: RuntimeError: A summary")
    assert lines[-1].startswith("    ")


def test_list_as_json(sparring, install):
    install("broken-one", "raise RuntimeError('no')", version="0.1")
    told = json.loads(sparring("list", "datasets", "--json", allowed="toy-zoo,broken-one").stdout)
    assert told["plugins"] == [
        {
            "kind": "dataset",
            "name": name,
            "summary": summary,
            "distribution": "toy-zoo",
            "version": "2.1",
            "entry_point": "plugins",
        }
        for name, summary in (("dots", "Dots."), ("lines", "Lines."))
    ]
    assert told["allowed"] == ["broken-one", "toy-zoo"]
    assert told["problems"] == [
        {
            "distribution": "broken-one",
            "version": "0.1",
            "entry_point": "plugins",
            "message": "cannot be imported: RuntimeError: no",
        }
    ]


def test_list_puts_problems_last_and_succeeds(sparring, install):
    install("broken-one", "import no_such_thing", version="0.1")
    install("second-zoo", ZOO, version="3.0")
    done = sparring("list", allowed="toy-zoo,broken-one,second-zoo")
    assert done.returncode == 0
    problems = done.stdout.partition("\nproblems\n")[2].splitlines()
    assert problems[0].startswith("  broken-one 0.1 (plugins): cannot be imported: ModuleNotFoundError")
    assert any("second-zoo 3.0 (plugins) and toy-zoo 2.1 (plugins)" in problem for problem in problems)


HEAVY = ("torch", "art", "torchattacks", "sklearn", "torchvision", "pydantic", "numpy", "distributed", "rich", "yaml")
LIST_AND_TELL = """
import sys, time
from sparring.cli.main import main
try:
    main()
except SystemExit:
    pass
print(time.process_time(), *sys.modules, file=sys.stderr)
"""


def test_list_is_fast_and_imports_nothing_heavy(sparring):
    sparring("list")  # writes the byte code
    runs = [sparring("list", code=LIST_AND_TELL).stderr.split() for _ in range(3)]
    assert all(set(HEAVY).isdisjoint(modules) for _, *modules in runs)
    assert all("sparring.catalogue" in modules for _, *modules in runs)
    assert min(float(seconds) for seconds, *_ in runs) < 0.5  # of CPU, the start of the interpreter included


def test_help_imports_no_command(sparring):
    done = sparring("--help", code=LIST_AND_TELL)
    told = done.stdout.partition("Commands:")[2]
    assert [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line[2] != " "] == [
        "run",
        "plan",
        "explain",
        "verify",
        "pictures",
        "cache",
        "leaderboard",
        "list",
        "info",
        "contracts",
        "new",
        "check",
        "schema",
    ]
    modules = done.stderr.split()
    assert "sparring.catalogue" not in modules
    assert not any(module.startswith("sparring.cli.") and module != "sparring.cli.main" for module in modules)


def test_info_tells_what_a_plugin_declares(sparring):
    text = sparring("info", "pgd").stdout
    for expected in (
        "attack pgd\n  Projected gradient descent.\n  Madry et al. 2018\n",
        "needs   gradients",
        "goals   evasion, targeted",
        "norms   linf, l2",
        "from    toy-zoo 2.1, revision 1",
        "steps=40",
        "int (at least 1)",
        "one of fast, slow",
        "epsilon (eps)=0.3",
    ):
        assert expected in text
    squeeze = json.loads(sparring("info", "squeeze", "--json").stdout)
    assert squeeze[0]["parameters"] == [
        {
            "name": "bits",
            "type": "int",
            "default": "4",
            "meaning": "bits a value",
            "limits": "at least 1, at most 8",
            "unit": "",
        }
    ]
    assert (squeeze[0]["acts"], squeeze[0]["offers"]) == (["guard"], None)


def test_info_tells_the_source_and_follows_its_edits(sparring, install):
    told = json.loads(sparring("info", "pgd", "--json").stdout)[0]
    assert told["module"] == "toy_zoo"
    assert f"source  toy_zoo, digest {told['source']}\n" in sparring("info", "pgd").stdout
    file = install("other", "") / "toy_zoo.py"
    for more, moved in (("# a comment", False), ("faster = True", True)):
        file.write_text(f"{ZOO}\n{more}\n")
        now = json.loads(sparring("info", "pgd", "--json").stdout)[0]["source"]
        assert (now != told["source"]) is moved


def test_info_says_where_there_is_no_source(sparring, install):
    site = install("toy-zoo-binary", ZOO)
    file = site / "toy_zoo_binary.py"
    py_compile.compile(str(file), cfile=str(file.with_suffix(".pyc")))
    file.unlink()
    told = sparring("info", "pgd", allowed="toy-zoo-binary").stdout
    assert "source  toy_zoo_binary cannot be read as source, so its results have no key" in told
    assert json.loads(sparring("info", "pgd", "--json", allowed="toy-zoo-binary").stdout)[0]["source"] is None


def test_info_of_a_name_in_several_kinds(sparring):
    assert [each["kind"] for each in json.loads(sparring("info", "none", "--json").stdout)] == ["attack", "defence"]
    assert [each["kind"] for each in json.loads(sparring("info", "defence/none", "--json").stdout)] == ["defence"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["info", "squeese"], "sparring: there is no plugin 'squeese'; did you mean 'squeeze'?\n"),
        (["info", "atack/pgd"], "sparring: there is no kind 'atack'; did you mean 'attack'?\n"),
        (["info", "attack/pdg"], "sparring: there is no attack 'pdg'; did you mean 'pgd'?\n"),
        (["new", "atack", "x"], "sparring: there is no kind 'atack'; did you mean 'attack'?\n"),
        (["lits"], "sparring: there is no command 'lits'; did you mean 'list'?\n"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(sparring, args, message):
    done = sparring(*args)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_usage_errors_exit_with_2(sparring):
    for args in (["list", "victim"], ["list", "--jsn"], ["schema"], ["new", "attack"]):
        done = sparring(*args)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(sparring):
    close_stdout = "import os, sys; r, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r); " + MAIN
    done = sparring("list", code=close_stdout)
    assert done.stderr == ""


SLOW = """
import time
print("importing", flush=True)
time.sleep(60)
"""


def test_an_interrupt_exits_with_130_and_no_traceback(install):
    site = install("slow-one", SLOW)
    path = os.pathsep.join([str(REPOSITORY / "bench"), str(site)])
    env = {**os.environ, "PYTHONPATH": path, "SPARRING_PLUGINS": "slow-one"}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "list"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told.strip()) == (130, "")


def test_published_schemas(sparring):
    suite = json.loads(sparring("schema", "suite").stdout)
    assert suite["properties"]["repetitions"]["minimum"] == 1
    record = json.loads(sparring("schema", "record").stdout)
    assert "schema_version" in record["properties"]
