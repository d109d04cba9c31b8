"""Installing distributions for real, with pip, without a second copy of torch."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distributions
from pathlib import Path

SPARRING = "from sparring.cli.main import main; main()"


class Beside:
    """A fresh virtual environment that sees everything that is installed for this interpreter. What is installed into
    it stays in it; nothing is downloaded, so what a distribution requires must be there already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
        places = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        lines = [f"import site; site.addsitedir({place!r})" for place in places]  # with the .pth files that lie there
        (self.site / "beside.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def install(self, *requirements: str) -> None:
        """`pip install`, without an index. Build backends are those that are installed."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "install"]
        self._run([*pip, "--quiet", "--no-index", "--no-build-isolation", *requirements], self.folder)

    def installed(self) -> list[str]:
        """The distributions that lie in this environment itself."""
        return sorted(found.metadata["Name"] for found in distributions(path=[str(self.site)]))

    def sparring(self, *arguments: str, **environment: str) -> str:
        """What the command says on standard output; it must succeed."""
        return self._run([str(self.python), "-c", SPARRING, *arguments], self.folder, **environment)

    def pytest(self, project: Path) -> str:
        """What `pytest` says in a project's folder; it must succeed."""
        return self._run([str(self.python), "-m", "pytest", "-p", "no:cacheprovider"], project)

    def _run(self, command: list[str], where: Path, **environment: str) -> str:
        others = ("SPARRING_", "PIP_", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        own = {
            "SPARRING_CACHE": str(self.folder / "cache"),
            "PIP_CONFIG_FILE": os.devnull,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            command, cwd=where, env=kept | own | environment, capture_output=True, text=True, timeout=250
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
