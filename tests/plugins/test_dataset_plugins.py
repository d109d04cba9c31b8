"""The data sets: shapes, ranges, classes and limits, local folders, archives, missing and damaged files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.contracts import Context, DatasetUnavailable
from sparring.data import ArrayDataset
from sparring.subset import SubsetParams, balanced_rows
from sparring_datasets import sparring_datasets
from sparring_datasets.cifar import Cifar10, Cifar10Params, Cifar10Test
from sparring_datasets.digits import Digits
from sparring_datasets.mnist import Mnist

SPECS = {spec.name: spec for spec in sparring_datasets()}
REAL = os.environ.get("SPARRING_DATA")
with_real_data = pytest.mark.skipif(not REAL, reason="SPARRING_DATA names no folder with the real data sets")


def context(seed: int = 0) -> Context:
    return Context(seed=seed, device="cpu", scratch=Path("/nonexistent"))


def load(name: str, **params: Any) -> tuple[ArrayDataset, ArrayDataset]:
    spec = SPECS[name]
    train, test = spec.load(spec.params(**params)).load(context())
    return train, test


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache that cannot be written to, so that no test downloads anything."""
    blocked = tmp_path / "cache"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("SPARRING_CACHE", str(blocked))
    return blocked


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("SPARRING_DATA", str(folder))
    return folder


def write_idx(path: Path, array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.array([0x0800 + array.ndim, *array.shape], dtype=">u4")
    path.write_bytes(header.tobytes() + array.tobytes())


def write_mnist(root: Path, folder: str) -> None:
    for prefix, count in (("train", 50), ("t10k", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)


def write_cifar10(root: Path) -> None:
    names = np.array([f"thing {k}" for k in range(10)])
    (root / "cifar10").mkdir()
    for seed, (file, count) in enumerate({"train_0": 30, "train_1": 20, "test_first1000": 10, "test_jpeg": 20}.items()):
        x = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        y = np.arange(count, dtype=np.uint8) % 10
        np.savez(root / "cifar10" / f"cifar10_{file}.npz", x=x, y=y, classes=names)


def test_digits_are_split_evenly_and_fill_the_unit_range() -> None:
    train, test = load("digits")
    assert (len(train), len(test), train.image_shape, train.classes) == (1437, 360, (1, 8, 8), 10)
    assert np.bincount(test.y).tolist() == [36] * 10
    assert (train.x.min(), train.x.max()) == (0.0, 1.0)
    assert set(np.unique(train.x * 16)) == set(range(17))
    rows = {image.tobytes() for image in train.x}
    assert sum(image.tobytes() in rows for image in test.x) == 0


def test_digits_are_the_same_for_every_seed() -> None:
    one, two = (Digits(SubsetParams(limit_train=100)).load(context(seed))[0] for seed in (0, 1))
    assert one.x.tobytes() == two.x.tobytes()


def test_classes_are_relabelled_in_the_order_given() -> None:
    whole, _ = load("digits")
    train, test = load("digits", classes=(7, 2))
    assert train.class_names == ("7", "2")
    np.testing.assert_array_equal(train.x[train.y == 0], whole.x[whole.y == 7])
    np.testing.assert_array_equal(train.x[train.y == 1], whole.x[whole.y == 2])
    assert len(test) == 72


@pytest.mark.parametrize(("classes", "said"), [((1, 12), "names 12"), ((3,), "at least two"), ((3, 3, 4), "each once")])
def test_impossible_classes_are_explained(classes: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=f"digits.*{said}"):
        load("digits", classes=classes)


def test_limits_are_balanced_and_nested() -> None:
    small, _ = load("digits", limit_train=50)
    large, test = load("digits", limit_train=200, limit_test=25)
    assert np.bincount(small.y).tolist() == [5] * 10
    assert {x.tobytes() for x in small.x} <= {x.tobytes() for x in large.x}
    assert sorted(np.bincount(test.y).tolist()) == [2] * 5 + [3] * 5
    assert len(load("digits", limit_train=10**6)[0]) == 1437


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70))
def test_balanced_rows_take_as_evenly_as_they_can(labels: list[int], count: int) -> None:
    y = np.array(labels, dtype=np.int64)
    rows = balanced_rows(y, count)
    assert len(rows) == min(count, len(y))
    assert np.all(np.diff(rows) > 0)
    there, taken = np.bincount(y, minlength=5), np.bincount(y[rows], minlength=5)
    open_classes = taken[taken < there]  # the others gave all they have
    assert not open_classes.size or taken.max() <= open_classes.min() + 1


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_is_read_from_the_local_root(name: str, folder: str, root: Path, no_cache: Path) -> None:
    write_mnist(root, folder)
    train, test = load(name, limit_train=30)
    assert (train.pixels.shape, test.pixels.shape) == ((30, 1, 28, 28), (20, 1, 28, 28))
    assert train.pixels.dtype == np.uint8
    assert test.y.tolist() == [*range(10), *range(10)]
    expected = np.random.default_rng(20).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(test.pixels[:, 0], expected)


def test_mnist_is_read_from_the_cache(monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    write_mnist(tmp_path / "cache" / "data", "MNIST")
    assert len(load("mnist")[0]) == 50


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"])
def test_missing_files_are_named(name: str, root: Path, no_cache: Path) -> None:
    with pytest.raises(DatasetUnavailable) as caught:
        load(name)
    message = str(caught.value)
    assert message.startswith(f"data set {name}: neither whole in {root} (SPARRING_DATA) nor in the cache {no_cache}")
    assert "\n" not in message


def test_the_variable_is_named_when_it_is_not_set(monkeypatch: pytest.MonkeyPatch, no_cache: Path) -> None:
    monkeypatch.delenv("SPARRING_DATA", raising=False)
    with pytest.raises(DatasetUnavailable, match=r"mnist: not in the cache .*SPARRING_DATA, a folder with the files"):
        Mnist(SubsetParams()).load(context())
    with pytest.raises(DatasetUnavailable, match=r"cifar10: .*jpeg\.npz.*set SPARRING_DATA"):
        Cifar10(Cifar10Params(test=Cifar10Test.JPEG)).load(context())


@pytest.mark.parametrize(("test_images", "count"), [("auto", 10), ("first1000", 10), ("jpeg", 20)])
def test_cifar10_is_read_from_archives(test_images: str, count: int, root: Path, no_cache: Path) -> None:
    write_cifar10(root)
    train, test = load("cifar10", test=Cifar10Test(test_images))
    assert (train.pixels.shape, test.pixels.shape) == ((50, 3, 32, 32), (count, 3, 32, 32))
    assert train.pixels.dtype == np.uint8
    assert train.class_names[9] == "thing 9"
    first = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(train.pixels[:30], first.transpose(0, 3, 1, 2))


def test_training_images_are_held_out_as_the_test_set(
    monkeypatch: pytest.MonkeyPatch, root: Path, no_cache: Path
) -> None:
    monkeypatch.setattr("sparring_datasets.cifar.HELD_OUT", 15)
    write_cifar10(root)
    whole, _ = load("cifar10")
    train, test = load("cifar10", test=Cifar10Test.HELD_OUT)
    assert (len(train), len(test)) == (35, 15)
    np.testing.assert_array_equal(np.concatenate([train.pixels, test.pixels]), whole.pixels)
    np.testing.assert_array_equal(np.concatenate([train.y, test.y]), whole.y)


def test_a_truncated_file_is_not_taken_for_the_data_set(root: Path, no_cache: Path) -> None:
    write_mnist(root, "MNIST")
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DatasetUnavailable, match="mnist: neither whole in"):
        load("mnist")


def test_a_damaged_archive_is_named(root: Path, no_cache: Path) -> None:
    write_cifar10(root)
    damaged = root / "cifar10" / "cifar10_train_1.npz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(DatasetUnavailable, match=f"cifar10: cannot read {damaged}"):
        load("cifar10")


def test_an_archive_with_objects_inside_is_not_opened(root: Path, no_cache: Path) -> None:
    write_cifar10(root)
    evil = np.array([{"code": "runs"}], dtype=object)
    np.savez(root / "cifar10" / "cifar10_train_0.npz", x=evil, y=evil, classes=evil)
    with pytest.raises(DatasetUnavailable, match="cannot read"):
        load("cifar10")


@with_real_data
@pytest.mark.parametrize(
    ("name", "train_shape", "first_labels"),
    [
        ("mnist", (60000, 1, 28, 28), [5, 0, 4, 1, 9]),
        ("fashion-mnist", (60000, 1, 28, 28), [9, 0, 0, 3, 0]),
        ("cifar10", (50000, 3, 32, 32), [6, 9, 9, 4, 1]),
    ],
)
def test_real_files(name: str, train_shape: tuple[int, ...], first_labels: list[int]) -> None:
    train, test = load(name)
    assert train.pixels.shape == train_shape
    assert train.pixels.dtype == np.uint8
    assert train.y[:5].tolist() == first_labels
    assert len(test) in (1000, 10000)
    assert train.pixels.max() == 255
