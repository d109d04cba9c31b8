"""What `sparring new` writes: a plugin distribution that is complete, installs, and passes its own tests."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from sparring import __version__
from sparring.plugin import Kind

FILES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    ".gitignore": "gitignore.j2",
    ".github/workflows/test.yml": "workflow.yml.j2",
    "src/{module}.py": "{kind}.py.j2",
    "tests/test_conformance.py": "test_conformance.py.j2",
}
"""File of the distribution -> its template."""

LOADER = jinja2.PackageLoader("sparring.scaffold")
TEMPLATES = jinja2.Environment(
    loader=LOADER,
    autoescape=False,  # Python, TOML and Markdown, made of names that hold letters, digits and hyphens only
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class NewPlugin:
    """A plugin that is to be started.

    Attributes:
        kind: which of the five.
        name: legal by `sparring.declarations.is_name`.
    """

    kind: Kind
    name: str

    @property
    def distribution(self) -> str:
        return f"sparring-{self.name}"

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def a_kind(self) -> str:
        """The kind with its article."""
        return f"an {self.kind}" if self.kind is Kind.ATTACK else f"a {self.kind}"

    @property
    def class_name(self) -> str:
        """MyAttack for my-attack; with the kind behind it where the plugin's file needs that word for something else
        ("params"), or Python does ("none")."""
        joined = "".join(word.capitalize() for word in self.name.split("-"))
        source, _, _ = LOADER.get_source(TEMPLATES, f"{self.kind}.py.j2")
        taken = {*re.findall(r"\w+", source), *dir(builtins)}
        return joined + self.kind.capitalize() if joined in taken else joined

    def files(self) -> Mapping[str, str]:
        """Text of every file of the distribution, by its path below the distribution's folder."""
        words = {"module": self.module, "kind": self.kind.value}
        return {path.format(**words): self._rendered(template.format(**words)) for path, template in FILES.items()}

    @property
    def trial(self) -> str:
        """The command that shows the plugin at work, once it is installed."""
        return self._rendered("trial.txt.j2").strip()

    def write(self, folder: Path) -> None:
        """Make `folder` and put the distribution into it.

        Raises:
            FileExistsError: there is a file or folder of that name.
            OSError: it cannot be written.
        """
        files = self.files()
        folder.mkdir(parents=True)
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def _rendered(self, template: str) -> str:
        return TEMPLATES.get_template(template).render(plugin=self, version=__version__)
