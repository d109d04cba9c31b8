"""The smallest perturbation that reaches an aim: a penalty on the margin, and the search for its constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 1e10
"""The largest constant that is tried (the code of Carlini & Wagner): at it, the distance has long ceased to count."""


def penalised(distance: Tensor, margins: Tensor, constant: Tensor) -> Tensor:
    """|x' - x|² + c max(margin, 0), elementwise (Carlini & Wagner 2017, section V; Chen et al. 2017, ZOO, eq. 3)."""
    return distance + constant * margins.clamp(min=0)


class PenaltyConstants:
    """The constant c of each image, and the interval in which the smallest one that serves must lie.

    It is multiplied by ten, up to `LARGEST`, until the aim is reached with it, and halved in on from there (Carlini &
    Wagner 2017, section V.B).

    Attributes:
        value: (N,) the constants to try next.
    """

    def __init__(self, initial: float, like: Tensor) -> None:
        """All constants begin at `initial`; `like` is an (N,) tensor of floats."""
        import torch

        self.value = torch.full_like(like, initial)
        self._lower = torch.zeros_like(like)
        self._upper = torch.full_like(like, float("inf"))

    def tried(self, rows: Tensor, reached: Tensor) -> None:
        """Go on from whether the present constants served (M,) bool, for the images `rows`."""
        value = self.value[rows]
        self._upper[rows] = value.minimum(self._upper[rows]).where(reached, self._upper[rows])
        self._lower[rows] = value.maximum(self._lower[rows]).where(~reached, self._lower[rows])
        bounded, grown = self._upper[rows].isfinite(), (10 * value).clamp(max=LARGEST)
        self.value[rows] = ((self._lower[rows] + self._upper[rows]) / 2).where(bounded, grown)


class NearestExamples:
    """The nearest example of each image that reached the aim; the clean image as long as there is none.

    Attributes:
        images: (N, C, H, W).
        found: (N,) bool.
    """

    def __init__(self, x: Tensor) -> None:
        import torch

        self.images = x.clone()
        self._x = x
        self._distance = torch.full((len(x),), float("inf"), device=x.device)

    @property
    def found(self) -> Tensor:
        return self._distance.isfinite()

    def offer(self, rows: Tensor, images: Tensor, reached: Tensor) -> None:
        """Keep those of the candidates (M, C, H, W) that reach the aim, (M,) bool, and are nearer than what is kept."""
        distance = (images - self._x[rows]).flatten(1).square().sum(dim=1)
        better = reached & (distance < self._distance[rows])
        self.images[rows[better]] = images[better]
        self._distance[rows[better]] = distance[better]
