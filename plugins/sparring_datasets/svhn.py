"""`svhn`, through torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparring.plugin import DatasetSpec
from sparring.subset import SubsetParams, subset

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset


class Svhn:
    """73,257 and 26,032 colour images of 32 x 32 pixels, 10 classes; label = digit."""

    def __init__(self, params: SubsetParams) -> None:
        self.params = params

    def load(self, ctx: Context) -> tuple[ArrayDataset, ArrayDataset]:
        from torchvision.datasets import SVHN

        from sparring_datasets.files import read_or_download

        parts = read_or_download(
            "svhn", lambda folder, download: [SVHN(folder, split=s, download=download) for s in ("train", "test")]
        )
        train, test = (_as_arrays(part) for part in parts)
        return subset("svhn", train, test, self.params)


def _as_arrays(part: Any) -> ArrayDataset:
    import numpy as np

    from sparring.data import ArrayDataset

    return ArrayDataset(part.data, part.labels.astype(np.int64), tuple("0123456789"))


SPEC = DatasetSpec(
    name="svhn",
    summary="Digits of house numbers, 32 x 32 colour, 73,257 training and 26,032 test images.",
    citation="Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
    params=SubsetParams,
    load=Svhn,
)
