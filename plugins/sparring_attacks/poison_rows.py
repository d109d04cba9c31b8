"""Which rows a training-time attack poisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from sparring.data import IntArray


def draw_rows(candidates: IntArray, train_size: int, fraction: float, rng: np.random.Generator) -> IntArray:
    """Distinct rows drawn uniformly from `candidates`, sorted: as many as `fraction` of the whole training set allows.

    Rounded down, so that the fraction is never exceeded; all candidates where there are not enough.
    """
    import numpy as np

    allowed = int(fraction * train_size + 1e-9)  # 0.29 * 100 is 28.999...
    count = min(allowed, len(candidates))
    return np.sort(rng.choice(candidates, size=count, replace=False)).astype(np.int64)
