"""`cifar10` and `cifar100`, through torchvision; `cifar10` also from NumPy archives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sparring.plugin import DatasetSpec, param
from sparring.subset import SubsetParams, subset

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset

ARCHIVES = "cifar10"
"""Folder of `cifar10_train_0.npz`, `cifar10_train_1.npz` and `cifar10_test_<images>.npz` in the local root. Each
archive has `x` (N, 32, 32, 3) uint8, `y` (N,) labels and `classes`, the ten names."""


class Cifar10Test(StrEnum):
    AUTO = "auto"
    FIRST1000 = "first1000"
    JPEG = "jpeg"
    HELD_OUT = "held-out"


HELD_OUT = 10_000
"""Training images, the last ones, that the test `held-out` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar10Params(SubsetParams):
    test: Cifar10Test = param(
        Cifar10Test.AUTO,
        "first1000: its first 1,000 images; jpeg: all 10,000 after lossy JPEG compression, from an archive; "
        "held-out: the last 10,000 training images, and only the others are trained on; "
        "auto: the complete one, or first1000 where only an archive of these is at hand",
    )


class Cifar10:
    """50,000 and 10,000 colour images of 32 x 32 pixels, 10 classes."""

    def __init__(self, params: Cifar10Params) -> None:
        self.params = params

    def load(self, ctx: Context) -> tuple[ArrayDataset, ArrayDataset]:
        train, test = self._whole()
        if self.params.test is Cifar10Test.HELD_OUT:
            kept = max(len(train) - HELD_OUT, 0)
            train, test = train.rows(range(kept)), train.rows(range(kept, len(train)))
        return subset("cifar10", train, test, self.params)

    def _whole(self) -> tuple[ArrayDataset, ArrayDataset]:
        from sparring_datasets.files import read_local, read_or_download

        if self.params.test is Cifar10Test.JPEG:
            return read_archives("jpeg")
        original = read_local(_read_cifar10)
        if original is None and _has_archives():
            return read_archives("first1000")
        train, test = original or read_or_download("cifar10", _read_cifar10)
        return train, test.rows(range(1000)) if self.params.test is Cifar10Test.FIRST1000 else test


class Cifar100:
    """50,000 and 10,000 colour images of 32 x 32 pixels, 100 classes."""

    def __init__(self, params: SubsetParams) -> None:
        self.params = params

    def load(self, ctx: Context) -> tuple[ArrayDataset, ArrayDataset]:
        from torchvision.datasets import CIFAR100

        from sparring_datasets.files import read_or_download

        train, test = read_or_download("cifar100", lambda folder, download: _read(CIFAR100, folder, download))
        return subset("cifar100", train, test, self.params)


def _read_cifar10(folder: str, download: bool) -> list[ArrayDataset]:
    from torchvision.datasets import CIFAR10

    return _read(CIFAR10, folder, download)


def _read(cls: Any, folder: str, download: bool) -> list[ArrayDataset]:
    parts = [cls(folder, train=train, download=download) for train in (True, False)]
    return [_as_arrays(part.data, part.targets, part.classes) for part in parts]


def _as_arrays(x: Any, y: Any, names: Any) -> ArrayDataset:
    import numpy as np

    from sparring.data import ArrayDataset

    pixels = np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2))
    return ArrayDataset(pixels, np.asarray(y, dtype=np.int64), tuple(str(name) for name in names))


def _has_archives() -> bool:
    from sparring_datasets.files import local_root

    root = local_root()
    return root is not None and (root / ARCHIVES / "cifar10_test_first1000.npz").is_file()


def read_archives(test: str) -> tuple[ArrayDataset, ArrayDataset]:
    """The training set and the test images `test` from the archives in the local root.

    Raises:
        DatasetUnavailable: an archive is missing or damaged.
    """
    test_part, names = _archive(f"cifar10_test_{test}.npz")
    train, _ = _archive("cifar10_train_0.npz", "cifar10_train_1.npz")
    return _as_arrays(*train, names), _as_arrays(*test_part, names)


def _archive(*files: str) -> tuple[tuple[Any, Any], Any]:
    from lzma import LZMAError
    from zipfile import BadZipFile

    import numpy as np

    from sparring.contracts import DatasetUnavailable
    from sparring_datasets.files import ROOT_VARIABLE, local_root

    root = local_root()
    if root is None:
        raise DatasetUnavailable(f"data set cifar10: {files[0]} is read from a local folder; set {ROOT_VARIABLE} to it")
    images, labels, names = [], [], None
    for file in files:
        path = root / ARCHIVES / file
        try:
            with np.load(path, allow_pickle=False) as archive:
                images.append(archive["x"])
                labels.append(archive["y"])
                names = archive["classes"]
        except (OSError, ValueError, KeyError, BadZipFile, LZMAError) as problem:
            raise DatasetUnavailable(f"data set cifar10: cannot read {path} ({ROOT_VARIABLE}): {problem}") from problem
    return (np.concatenate(images), np.concatenate(labels)), names


SPECS = (
    DatasetSpec(
        name="cifar10",
        summary="Animals and vehicles, 32 x 32 colour, 50,000 training and 10,000 test images.",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        params=Cifar10Params,
        load=Cifar10,
    ),
    DatasetSpec(
        name="cifar100",
        summary="100 kinds of things, 32 x 32 colour, 50,000 training and 10,000 test images.",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        params=SubsetParams,
        load=Cifar100,
    ),
)
