"""What is kept beside the numbers, and used again by another suite."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sparring.cli.main import commands
from sparring.data import Arrays
from sparring.journal import open_results
from sparring.record import Scored
from sparring.tensors import header_of, tensors_in

SUITE = """
seed: 3
datasets: [digits]
victims: ["mlp[epochs=2]", rbf-svm]
attacks: [none, random-pixel]
defences: [none]
evaluation: {samples: 20, keep: [state, curves, projection]}
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marks")
    (folder / "suite.yaml").write_text(SUITE)
    run(folder)
    return folder


def run(folder: Path) -> None:
    options = ["--engine", "serial", "--cache", str(folder / "cache")]
    result = CliRunner().invoke(commands, ["run", str(folder), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def media(folder: Path, part: str) -> dict[str, str]:
    (outcome,) = [r.outcome for name, r in open_results(folder).by_cell.items() if part in name]
    assert isinstance(outcome, Scored)
    return outcome.media


def read(folder: Path, digest: str) -> tuple[Arrays, object]:
    data = (folder / "results" / "media" / f"{digest}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
    header = header_of(data)
    return tensors_in(data, header), header.meta


def test_the_poison_is_kept_once_for_all_victims(board: Path) -> None:
    mlp, svm = media(board, "mlp[epochs=2]/random-pixel"), media(board, "rbf-svm/random-pixel")
    assert mlp["state"] == svm["state"]
    arrays, about = read(board, mlp["state"])
    assert arrays["positions"].shape == (10, 2)
    assert isinstance(about, dict)
    assert about["label"] == "poison random-pixel[poison_fraction=1] on digits, r0"
    assert isinstance(about["seed"], int)


def test_curves_are_those_of_the_fit(board: Path) -> None:
    arrays, _ = read(board, media(board, "mlp[epochs=2]/random-pixel")["curves"])
    assert arrays["fit/training error"][:, 0].tolist() == [1, 2]
    assert "curves" not in media(board, "rbf-svm/random-pixel")


def test_the_projection_is_of_the_victim_with_features(board: Path) -> None:
    arrays, _ = read(board, media(board, "mlp[epochs=2]/random-pixel")["projection"])
    points = arrays["train/points"]
    assert points.shape[1] == 2
    assert np.abs(points.mean(axis=0)).max() < 1e-2 * np.abs(points).max()  # centred on the training images
    assert len(arrays["test/points"]) == len(arrays["test/y"])
    assert "projection" not in media(board, "rbf-svm/random-pixel")


def test_cells_without_poison_keep_nothing(board: Path) -> None:
    assert media(board, "mlp[epochs=2]/none") == {}


def test_a_rerun_leaves_everything_as_it_is(board: Path) -> None:
    before = {path: path.read_bytes() for path in board.glob("results/**/*") if path.is_file()}
    run(board)
    assert {path: path.read_bytes() for path in board.glob("results/**/*") if path.is_file()} == before
