"""What may know what: the core knows no plugin, plugins know the public contracts only, layers do not point upwards,
and a command loads no more than it needs."""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").glob("sparring_*"))

PUBLIC = {
    "augmentation",
    "cell",
    "contracts",
    "data",
    "hookspecs",
    "model",
    "optimisation",
    "plugin",
    "stored_file",
    "subset",
    "testing",
    "threat",
    "training",
    "training_loop",
}
"""The modules of `sparring` that plugins may use; everything else may change from one version to the next."""

LAYERS: dict[str, set[str]] = {
    # what plugins are made of: knows nothing of catalogues, suites and runs
    "threat": set(),
    "plugin": {"threat"},
    "cell": {"stored_file", "threat"},
    "stored_file": {"errors", "tensors"},
    "hookspecs": set(),
    "errors": set(),
    "data": set(),
    "subset": {"data", "plugin"},
    "scaffold": {"plugin"},
    "contracts": {"data"},
    "training": {"threat"},
    "model": {"data", "stage", "threat"},
    "training_loop": {"augmentation", "contracts", "data", "inner_adversary", "model", "optimisation", "training"},
    # what lies on disk: knows no plugin
    "store": {"data", "tensors"},
    "media": {"atomic", "data", "tensors"},
    "record": {"stage"},
    "journal": {"atomic", "media", "record", "uncollected"},
    # runs stages without knowing what they are
    "graph": {"stage"},
    "engine": {"graph", "stage", "store"},
    # from records alone
    "leaderboard": {"atomic", "cell", "exclusion", "journal", "pictures", "record", "stage", "threat"},
}
"""Module, or package, of the core: all of the core that it may import at run time."""

UPWARDS = {
    "stages": {"blueprint", "board", "cli", "engine", "journal", "leaderboard", "plan", "run", "suite"},
    "workshop": {"blueprint", "cli", "engine", "journal", "leaderboard", "plan", "run", "stages", "suite"},
    "judge": {"blueprint", "catalogue", "cli", "engine", "journal", "plan", "run", "store", "suite", "workshop"},
    "catalogue": {"blueprint", "cli", "engine", "execution", "journal", "plan", "run", "stages", "store", "suite"},
    "suite": {"blueprint", "cli", "engine", "execution", "journal", "plan", "run", "stages", "store"},
    "plan": {"cli", "engine", "execution", "journal", "leaderboard", "run", "stages", "store"},
    "run": {"cli", "engine", "leaderboard"},
}
"""Module: what lies above it, or beside it, and that it must not import at run time."""

HEAVY = ("torch", "torchvision", "torchattacks", "art", "sklearn", "scipy", "dask", "distributed")
LISTING = (*HEAVY, "numpy", "pydantic", "yaml", "rich")


def modules(source: str) -> dict[str, Path]:
    files = sorted((ROOT / source).rglob("*.py"))
    return {".".join(f.relative_to(ROOT / source).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


CORE = modules("bench")


def imported(file: Path, *, typing: bool = False) -> Iterator[str]:
    """Modules that a file imports, wherever in it; those under `if TYPE_CHECKING` only where asked for."""
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        only_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if only_typing and not typing:
            waiting += node.orelse  # type: ignore[attr-defined]
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in CORE else str(node.module) for name in names)
        waiting += ast.iter_child_nodes(node)


def core_imports(module: str) -> set[str]:
    """Of a module or package of the core: first parts of what it imports from the core, itself aside."""
    files = [file for name, file in CORE.items() if f"{name}.".startswith(f"sparring.{module}.")]
    assert files, f"there is no sparring.{module}"
    names = {name for file in files for name in imported(file) if name.startswith("sparring.")}
    return {name.split(".")[1] for name in names} - {module}


def test_the_core_knows_no_plugin() -> None:
    assert len(PLUGINS) >= 4
    for name, file in CORE.items():
        found = {imp for imp in imported(file, typing=True) if imp.split(".")[0] in PLUGINS}
        assert not found, f"{name} imports {found}"
        words = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
        # the plain names are those of the hooks too
        named = {word for word in words if isinstance(word, str) and word.split(".")[0] in PLUGINS and "." in word}
        assert not named, f"{name} names {named}"


def test_plugins_use_the_public_modules_only() -> None:
    for name, file in modules("plugins").items():
        for imp in imported(file, typing=True):
            first, *rest = imp.split(".")
            if first == "sparring":
                assert set(rest[:1]) & PUBLIC, f"{name} imports {imp}, which is not public"
            elif first in PLUGINS:
                assert first == name.split(".")[0], f"{name} imports {imp}, of another plugin package"


@pytest.mark.parametrize("module", LAYERS)
def test_lower_layers_know_only_what_is_below(module: str) -> None:
    assert core_imports(module) <= LAYERS[module]


@pytest.mark.parametrize("module", UPWARDS)
def test_layers_do_not_point_upwards(module: str) -> None:
    assert not core_imports(module) & UPWARDS[module]


def test_only_commands_know_commands() -> None:
    for name, file in CORE.items():
        if not name.startswith("sparring.cli"):
            assert not [imp for imp in imported(file, typing=True) if imp.startswith("sparring.cli")], name


def test_no_module_needs_itself() -> None:
    """Not even through others, not even inside functions."""
    below = {name: {imp for imp in imported(file) if imp in CORE} - {"sparring"} for name, file in CORE.items()}
    settled: set[str] = set()
    while ready := {name for name, needs in below.items() if name not in settled and needs - {name} <= settled}:
        settled |= ready
    assert set(below) == settled, f"a circle among {sorted(set(below) - settled)}"


ALONE = """
import importlib, os, sys, traceback, warnings
import torch, numpy, pydantic, yaml, rich.live, jinja2, distributed, psutil, pluggy, safetensors.numpy  # not ours

broken = 0
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        warnings.simplefilter("error")
        try:
            importlib.import_module(name)
            status = 0
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
            status = 1
        os._exit(status)
    broken += os.waitpid(child, 0)[1] != 0
print("broken:", broken)
"""


def test_every_module_imports_alone_and_without_a_warning() -> None:
    """Each as the first of its package in a process in which the libraries are loaded already."""
    names = [*CORE, *modules("plugins")]
    done = subprocess.run([sys.executable, "-c", ALONE, *names], capture_output=True, text=True, env=environment())
    assert done.stdout == "broken: 0\n", done.stdout + done.stderr


def environment() -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / source) for source in ("bench", "plugins"))
    return os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": ""}


AFTERWARDS = """
import sys
from sparring.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}))
"""


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    """Top-level modules in memory after a command."""
    command = [sys.executable, "-c", AFTERWARDS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=folder)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], LISTING),
        (["list"], LISTING),
        (["list", "--json"], LISTING),
        (["info", "pgd"], LISTING),
        (["contracts"], LISTING),
        (["new", "attack", "my-attack"], LISTING),
        (["schema", "suite"], HEAVY),
        (["schema", "record"], HEAVY),
        (["plan", "digits"], HEAVY),
        (["explain", "digits", "digits/cnn/none/none/r0"], HEAVY),
    ],
    ids=" ".join,
)
def test_commands_load_no_more_than_they_need(tmp_path: Path, arguments: list[str], never: tuple[str, ...]) -> None:
    loaded = loaded_by(tmp_path, *arguments)
    assert "sparring" in loaded
    assert not loaded & set(never)


@pytest.mark.parametrize("arguments", [["list"], ["--help"]], ids=" ".join)
def test_listing_is_quick(arguments: list[str]) -> None:
    """Under 0.5 s on an idle machine; on a busy one, not out of proportion to a Python that does nothing."""
    ours = [seconds([sys.executable, "-c", "from sparring.cli.main import main; main()", *arguments]) for _ in range(5)]
    bare = [seconds([sys.executable, "-c", "import click, pluggy, importlib.metadata"]) for _ in range(5)]
    assert statistics.median(ours) < 12 * statistics.median(bare)
    if os.getloadavg()[0] < 1:
        assert statistics.median(ours) < 0.5


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - begun
