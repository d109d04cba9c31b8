"""The JSON Schemas in docs/schema are those of the code, and they fit what is committed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sparring.cli.schema import command

FOLDER = Path(__file__).parents[2] / "docs" / "schema"


@pytest.mark.parametrize("name", ["suite", "record"])
def test_published_schema_is_current(name: str) -> None:
    printed = CliRunner().invoke(command, [name]).output
    published = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert published == printed, f"run: sparring schema {name} > docs/schema/{name}.json"
