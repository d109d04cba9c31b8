"""One pixel per class, written into the training images of that class: what the single-pixel poisons share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring_attacks.poison_rows import draw_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparring.data import ArrayDataset, Arrays, FloatArray, IntArray, Poisoned

WRITINGS = ("set", "add")


@dataclass(frozen=True, eq=False)
class Marks:
    """The marks of K classes.

    Attributes:
        positions: (K, 2) int64, row and column.
        intensities: (K,) float32 in [0, 1], the same in every channel.
        writing: `set` replaces the pixel, `add` adds to it and clips at 1.
    """

    positions: IntArray
    intensities: FloatArray
    writing: str

    def on(self, x: FloatArray, classes: IntArray) -> FloatArray:
        """Copies of the images (N, C, H, W), each with the mark of its entry of `classes` (N,)."""
        import numpy as np

        marked = np.array(x, dtype=np.float32)
        image, (row, column) = np.arange(len(x)), self.positions[classes].T
        strength = self.intensities[classes][:, None]
        if self.writing == "add":
            marked[image, :, row, column] = np.minimum(marked[image, :, row, column] + strength, 1)
        else:
            marked[image, :, row, column] = strength
        return marked

    def check(self, train: ArrayDataset) -> None:
        """Raises `ValueError` when there is not one mark for each class, inside the images."""
        classes, (_, height, width) = train.classes, train.image_shape
        inside = (self.positions >= 0).all() and (self.positions < [height, width]).all()
        if len(self.positions) != classes or len(self.intensities) != classes or not inside:
            raise ValueError(f"these marks are not for {classes} classes of {height} x {width} images")

    def state(self) -> Arrays:
        return {"positions": self.positions, "intensities": self.intensities}

    @classmethod
    def from_state(cls, state: Arrays, writing: str) -> Marks:
        return cls(state["positions"], state["intensities"], writing)

    def poison(self, train: ArrayDataset, fraction: float, rng: np.random.Generator) -> Sequence[Poisoned]:
        """One trial: a fraction of all rows, drawn uniformly, each with the mark of its class; labels unchanged."""
        import numpy as np

        from sparring.data import Poisoned

        rows = draw_rows(np.arange(len(train)), len(train), fraction, rng)
        images = train.rows(rows)
        return [Poisoned(rows, self.on(images.x, images.y), images.y, self.state())]

    def probes(self, x: FloatArray, y: IntArray) -> Mapping[str, tuple[FloatArray, IntArray]]:
        """What the shortcut does: `own-mark`, images with the mark of their class; `foreign-mark`, with that of the
        next class, labelled as that class; `mark-only`, one black image per class with nothing but its mark."""
        import numpy as np

        classes = np.arange(len(self.positions))
        foreign = (y + 1) % len(classes)
        black = np.zeros((len(classes), *x.shape[1:]), dtype=np.float32)
        return {
            "own-mark": (self.on(x, y), y),
            "foreign-mark": (self.on(x, foreign), foreign),
            "mark-only": (self.on(black, classes), classes),
        }


def intensities(stated: float | None, classes: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(K,) the stated intensity for every class, or, where none is stated, one drawn for each."""
    import numpy as np

    drawn = rng.random(classes) if stated is None else np.full(classes, stated)
    return drawn.astype(np.float32)


def check_room(classes: int, height: int, width: int) -> None:
    """Raises `ValueError` when the image has fewer pixels than there are classes."""
    if classes > height * width:
        raise ValueError(f"{classes} classes need {classes} pixels; the images have {height} x {width}")


def distinct(wanted: IntArray, height: int, width: int) -> IntArray:
    """(K, 2) `wanted`, each position that is already taken replaced by the nearest free one."""
    import numpy as np

    free = np.argwhere(np.ones((height, width), dtype=bool))
    taken = []
    for position in wanted:
        nearest = int(((free - position) ** 2).sum(axis=1).argmin())
        taken.append(free[nearest])
        free = np.delete(free, nearest, axis=0)
    return np.array(taken, dtype=np.int64)
