"""The plugins keep to Sparring's contract, and do what they say."""

from __future__ import annotations

import torch
from sparring_crosshatch.crosshatch import Crosshatch
from sparring_crosshatch.crosshatch import Params as HatchParams
from sparring_crosshatch.open_close import OpenClose
from sparring_crosshatch.open_close import Params as FilterParams

from sparring.testing import Trial, parametrize_plugins


@parametrize_plugins(distribution="sparring-crosshatch")
def test_conformance(trial: Trial) -> None:
    trial.run()


def test_bright_patterns_together_cover_the_image() -> None:
    bright = list(Crosshatch(HatchParams(spacing=4)).patterns(torch.zeros(1, 1, 9, 7)))[::2]
    assert len(bright) == 4
    assert torch.stack(bright).amax(dim=0).min() == 1


def test_thin_lines_are_filtered_away() -> None:
    hatch = next(iter(Crosshatch(HatchParams(spacing=6)).patterns(torch.zeros(1, 1, 18, 18))))
    image = (0.4 + 0.3 * hatch).expand(2, 3, 18, 18)
    # where two lines cross there are details as large as the window
    assert (OpenClose(FilterParams(window=3)).filtered(image) == 0.4).float().mean() > 0.95
    assert torch.equal(OpenClose(FilterParams(window=1)).filtered(image), image)
