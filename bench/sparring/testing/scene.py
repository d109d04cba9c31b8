"""The small worlds that plugins are tried in: images, a network, a context. All of it is made from the scene's seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparring.data import ArrayDataset
from sparring.threat import Access, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One small world. Plain values, so that it can be sent to another process.

    Attributes:
        channels, height, width, classes: of the images.
        rows: labelled images in the training set.
        batch: test images that are attacked, guarded or certified.
        seed: of the plugin's context. Images and network are the same for all seeds.
        threat: what the attacker may do; `None`: what the attack declares.
        access: what the model grants; `None`: what the plugin declares under `needs`.
        seconds: time limit of the context; `None`: none.
        device: "cpu" or "cuda:0".
    """

    channels: int = 1
    height: int = 12
    width: int = 12
    classes: int = 10
    rows: int = 60
    batch: int = 6
    seed: int = 20240
    threat: ThreatModel | None = None
    access: frozenset[Access] | None = None
    seconds: float | None = None
    device: str = "cpu"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    def images(self, count: int, stream: str) -> ArrayDataset:
        """`count` labelled images; every class has a bright bar of its own, so that there is something to learn.

        Args:
            stream: "train", "test", ...: different images of the same kind.
        """
        rng = np.random.default_rng([len(stream), *stream.encode(), *self.shape, self.classes])
        y = (np.arange(count) % self.classes).astype(np.int64)
        pixels = rng.integers(0, 90, size=(count, *self.shape))
        bars = np.linspace(0, self.height * self.width, self.classes + 1).astype(int)
        flat = pixels.reshape(count, self.channels, -1)
        for row, label in enumerate(y):
            flat[row, :, bars[label] : max(bars[label + 1], bars[label] + 1)] += 120
        order = rng.permutation(count)
        return ArrayDataset(
            pixels.astype(np.uint8)[order], y[order], tuple(f"class {label}" for label in range(self.classes))
        )

    def train(self) -> ArrayDataset:
        return self.images(self.rows, "train")

    def test(self) -> ArrayDataset:
        return self.images(self.batch, "test")


BASE = Scene()
"""Where every plugin must run: grey 12 x 12 images of ten classes."""


def writable(data: ArrayDataset) -> ArrayDataset:
    """A copy that can be written to, so that writing is seen rather than refused."""
    copy = ArrayDataset(data.x.copy(), data.y.copy(), data.class_names)
    for name in ("pixels", "y"):
        object.__setattr__(copy, name, getattr(copy, name).copy())
    return copy
