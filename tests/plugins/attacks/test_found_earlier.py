"""Which of several stored poisons a repetition uses."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from sparring.stored_file import StoredFile
from sparring.tensors import write_tensors
from sparring_attacks.found_earlier import found_earlier


def stored(folder: Path, seed: int) -> StoredFile:
    buffer = io.BytesIO()
    write_tensors(buffer, {"seed": np.array([seed])}, {"seed": seed})
    path = folder / f"{seed}.safetensors"
    path.write_bytes(buffer.getvalue())
    return StoredFile(hashlib.sha256(buffer.getvalue()).hexdigest(), str(path))


def test_each_repetition_gets_the_file_of_its_seed(tmp_path: Path) -> None:
    files = [stored(tmp_path, seed) for seed in (11, 12, 13)]
    assert found_earlier(files, 12)["seed"].item() == 12


def test_a_lone_file_serves_every_seed(tmp_path: Path) -> None:
    assert found_earlier([stored(tmp_path, 11)], 99)["seed"].item() == 11


def test_a_seed_that_no_file_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seed of this repetition, 99 \(11 with 11, 12 with 12\)"):
        found_earlier([stored(tmp_path, seed) for seed in (11, 12)], 99)
