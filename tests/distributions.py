"""Throw-away installed distributions, so that plugin discovery is tested through `importlib.metadata` itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent


def make_distribution(
    folder: Path,
    name: str,
    version: str,
    source: str,
    entry_points: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """Write `<module>.py` and its `.dist-info` as an installer would, into a folder for `sys.path` or `PYTHONPATH`.

    Args:
        folder: made when it is missing; returned. Several distributions may share it.
        name: of the distribution; the module is the name with underscores.
        source: of the module, dedented.
        entry_points: of the group `sparring`, name -> object reference; by default one, `plugins`, naming the module.
        requires: `Requires-Dist` lines; an extra that one of them names is declared as well.
    """
    module = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    extras = {line.rpartition("extra == ")[2].strip("\"' ") for line in requires if "extra == " in line}
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in sorted(extras)]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    (info / "METADATA").write_text("\n".join(metadata) + "\n", encoding="utf-8")
    listed = {"plugins": module} if entry_points is None else entry_points
    lines = ["[sparring]", *(f"{key} = {target}" for key, target in listed.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
