"""The code digest: moved by what computes, left alone by what does not."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import which

import pytest

from sparring import source_digest
from sparring.source_digest import WHOLE, Definition, canonical_code, code_closure, code_digest, plugin_root

PLUGIN = '''
"""A plugin."""
from dataclasses import dataclass
from .helper import scale  # a comment
from sparring.data import distortion

@dataclass(frozen=True)
class Attack:
    """Docstring."""
    size: float = 0.1

    def perturb(self, x: float) -> float:
        """Says nothing."""
        # nothing
        return scale(x, self.size)
'''
HELPER = "def scale(x, size):\n    return x * size\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "digested_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "helper.py").write_text(HELPER)
    (folder / "bystander.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("digested_package")]:
        del sys.modules[name]


def digest() -> str:
    for cached in (source_digest._uses, source_digest._module, source_digest._source_path):
        cached.cache_clear()
    source_digest._canonical_definition.cache_clear()
    importlib.invalidate_caches()
    return code_digest(Definition("digested_package.plugin", WHOLE))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("plugin.py", "# a comment", "# another"),
        ("plugin.py", '"""Says nothing."""', '"""Says something\n        else."""'),
        ("plugin.py", "x: float) -> float", "x: int) -> object"),
        ("plugin.py", "scale(x, self.size)", "scale(\n            x,\n            self.size,\n        )"),
        ("helper.py", "def scale", "\n\n# moved down\ndef scale"),
        ("bystander.py", "x = 1", "x = 2"),
    ],
)
def test_what_computes_nothing_leaves_the_digest(package: Path, file: str, old: str, new: str) -> None:
    before = digest()
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    assert digest() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("plugin.py", "0.1", "0.2"),
        ("plugin.py", "return scale", "return -scale"),
        ("helper.py", "x * size", "x / size"),
        ("plugin.py", "frozen=True", "frozen=False"),
    ],
)
def test_what_computes_moves_the_digest(package: Path, file: str, old: str, new: str) -> None:
    before = digest()
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    assert digest() != before


def test_the_core_is_followed_definition_by_definition() -> None:
    closure = code_closure(Definition("sparring.data", "split_train"))
    names = {definition.name for definition in closure}
    assert {"split_train", "Split"} <= names
    assert "distortion" not in names


def test_a_plugin_reaches_the_core_it_imports(package: Path) -> None:
    reached = code_closure(Definition("digested_package.plugin", WHOLE))
    assert Definition("sparring.data", "distortion") in reached
    assert Definition("digested_package.helper", WHOLE) in reached


def test_the_code_of_a_plugin_is_that_of_its_module_however_it_is_loaded(package: Path) -> None:
    plugin = importlib.import_module("digested_package.plugin")
    root = Definition("digested_package.plugin", WHOLE)
    assert [plugin_root(load) for load in (plugin.Attack, partial(partial(plugin.Attack), size=1.0))] == [root, root]


def test_stage_functions_do_not_cover_each_other() -> None:
    fit = code_closure(Definition("sparring.stages", "fit"))
    assert Definition("sparring.stages", "perturb") not in fit
    assert Definition("sparring.workshop", "Workshop") in fit


GOLDEN_SOURCE = '''
import os
def f(a, /, b: int = 1, *c, d, **e) -> None:
    """Doc."""
    x = [i for i in range(3) if i]; y = {**e, "k": -1.5e-7}; z = f"{a!r:>{b}} {{}}"
    match x:
        case [1, *rest]:
            pass
    return lambda q: (yield q), b"bytes", ..., 1j
class C(object, metaclass=type):
    n: int = 3
'''


GOLDEN_DIGEST = "3f452d93821a6bb68526e1ff90baf4bbd60f1ea9a04d639040595eceab32945a"


def test_canonical_code_is_the_same_on_every_python() -> None:
    """Golden: it was made by Python 3.11, 3.12 and 3.13 alike."""
    import hashlib

    text = canonical_code(source_digest._stripped(ast.parse(GOLDEN_SOURCE)))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN_DIGEST


@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13", "python3.14"])
def test_other_interpreters_agree(python: str) -> None:
    if which(python) is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"{python} is not here")
    root = Path(source_digest.__file__).parents[1]
    script = "from sparring.source_digest import *; print(code_digest(Definition('sparring.seeds', 'derive')))"
    said = subprocess.run([python, "-c", script], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    assert said == code_digest(Definition("sparring.seeds", "derive"))
