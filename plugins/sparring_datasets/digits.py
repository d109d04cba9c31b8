"""`digits`: the handwritten digits that scikit-learn carries; no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.plugin import DatasetSpec
from sparring.subset import SubsetParams, balanced_rows, subset

if TYPE_CHECKING:
    from sparring.contracts import Context
    from sparring.data import ArrayDataset

TEST_IMAGES = 360


class Digits:
    """1,797 grey images of 8 x 8 pixels, 10 classes; 360 of them, 36 of each class, are the test set."""

    def __init__(self, params: SubsetParams) -> None:
        self.params = params

    def load(self, ctx: Context) -> tuple[ArrayDataset, ArrayDataset]:
        import numpy as np
        from sklearn.datasets import load_digits

        from sparring.data import ArrayDataset

        bunch = load_digits()
        pixels = (bunch.images[:, None] / 16).astype(np.float32)  # counts of 0 to 16
        names = tuple(str(name) for name in bunch.target_names)
        whole = ArrayDataset(pixels, bunch.target.astype(np.int64), names)
        is_test = np.zeros(len(whole), dtype=bool)
        is_test[balanced_rows(whole.y, TEST_IMAGES)] = True
        return subset("digits", whole.rows(~is_test), whole.rows(is_test), self.params)


SPEC = DatasetSpec(
    name="digits",
    summary="Handwritten digits, 8 x 8 grey, 1,437 training and 360 test images; bundled with scikit-learn.",
    citation="Alpaydin & Kaynak 1998, Optical recognition of handwritten digits, UCI machine learning repository",
    params=SubsetParams,
    load=Digits,
)
