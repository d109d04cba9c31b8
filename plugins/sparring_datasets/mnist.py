"""`mnist` and `fashion-mnist`, through torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sparring.plugin import DatasetSpec
from sparring.subset import SubsetParams, subset

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset


class Mnist:
    """60,000 and 10,000 grey images of 28 x 28 pixels, 10 classes."""

    name: ClassVar[str] = "mnist"
    torchvision_name: ClassVar[str] = "MNIST"

    def __init__(self, params: SubsetParams) -> None:
        self.params = params

    def load(self, ctx: Context) -> tuple[ArrayDataset, ArrayDataset]:
        from torchvision import datasets

        from sparring_datasets.files import read_or_download

        source = getattr(datasets, self.torchvision_name)
        parts = read_or_download(
            self.name, lambda folder, download: [source(folder, train=t, download=download) for t in (True, False)]
        )
        train, test = (_as_arrays(part) for part in parts)
        return subset(self.name, train, test, self.params)


class FashionMnist(Mnist):
    """The same numbers and sizes, of clothing."""

    name = "fashion-mnist"
    torchvision_name = "FashionMNIST"


def _as_arrays(part: Any) -> ArrayDataset:
    import numpy as np

    from sparring.data import ArrayDataset

    return ArrayDataset(part.data.numpy()[:, None], part.targets.numpy().astype(np.int64), tuple(part.classes))


SPECS = (
    DatasetSpec(
        name="mnist",
        summary="Handwritten digits, 28 x 28 grey, 60,000 training and 10,000 test images.",
        citation="LeCun, Cortes & Burges 1998, The MNIST database of handwritten digits",
        params=SubsetParams,
        load=Mnist,
    ),
    DatasetSpec(
        name="fashion-mnist",
        summary="Pieces of clothing, 28 x 28 grey, 60,000 training and 10,000 test images.",
        citation="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST, arXiv 1708.07747",
        params=SubsetParams,
        load=FashionMnist,
    ),
)
