"""Files that parameters name: their content counts, their place does not."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sparring.cell import Selection
from sparring.errors import BadInput
from sparring.keys import digest_of
from sparring.params import sweep, to_plain
from sparring.plugin import param
from sparring.stored_file import StoredFile, StoredFileChanged
from sparring.tensors import write_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    generator: StoredFile | None = param(None, "a generator trained earlier")
    marks: tuple[StoredFile, ...] = param((), "marks found earlier, a file for each seed")


def published(path: Path, value: float) -> Path:
    buffer = io.BytesIO()
    write_tensors(buffer, {"weight": np.full(3, value)}, {"seed": 7})
    path.write_bytes(buffer.getvalue())
    return path


def read(raw: dict[str, object], folder: Path) -> Params:
    (params,) = sweep(Params, raw, "deep-confuse", folder=folder)
    assert isinstance(params, Params)
    return params


def test_a_path_is_relative_to_the_folder_and_is_read_back(tmp_path: Path) -> None:
    published(tmp_path / "a.safetensors", 1.5)
    generator = read({"generator": "a.safetensors"}, tmp_path).generator
    assert generator is not None
    arrays, about = generator.read()
    assert arrays["weight"].tolist() == [1.5] * 3
    assert about == {"seed": 7}


def test_the_key_holds_the_content_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = read({"generator": str(published(tmp_path / "a.safetensors", 1))}, tmp_path)
    there = read({"generator": str(published(tmp_path / "elsewhere" / "b.safetensors", 1))}, tmp_path)
    other = read({"generator": str(published(tmp_path / "c.safetensors", 2))}, tmp_path)
    assert digest_of(here) == digest_of(there) != digest_of(other)
    assert here == there != other


def test_params_survive_the_way_through_json(tmp_path: Path) -> None:
    published(tmp_path / "a.safetensors", 1)
    params = read({"marks": ["a.safetensors", "a.safetensors"], "generator": "a.safetensors"}, tmp_path)
    assert read(to_plain(params), Path("/nowhere")) == params


def test_a_label_is_short(tmp_path: Path) -> None:
    path = published(tmp_path / ("3" * 64 + ".safetensors"), 1)
    assert str(Selection("deep-confuse", read({"generator": str(path)}, tmp_path))) == (
        'deep-confuse[generator="333333333333"]'
    )


@pytest.mark.parametrize(
    ("raw", "told"),
    [("missing.safetensors", "missing.safetensors cannot be read: No such file"), (7, "expects the path of a file")],
)
def test_what_is_no_file_is_named(raw: object, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=told):
        read({"generator": raw}, tmp_path)


def test_a_file_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    path = published(tmp_path / "a.safetensors", 1)
    generator = read({"generator": str(path)}, tmp_path).generator
    assert generator is not None
    published(path, 2)
    with pytest.raises(StoredFileChanged, match="was changed"):
        generator.read()


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x04 a pickle, say")
    generator = read({"generator": "a.safetensors"}, tmp_path).generator
    assert generator is not None
    with pytest.raises(StoredFileChanged, match="no file that a run has published"):
        generator.read()
