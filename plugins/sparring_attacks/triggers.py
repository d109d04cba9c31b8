"""What a backdoor puts on an image: a patch, a blended pattern, a warp. All of an attack's choices are in named arrays,
its state, so that the trigger of the test images is that of the training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from sparring.data import Arrays, FloatArray


def patch(size: int, margin: int, brightness: float, height: int, width: int) -> Arrays:
    """A bright square near the lower right corner (Gu et al. 2017, section 4.1).

    Returns:
        `mask` (H, W) bool: where the patch lies; `patch` (H, W) float32: its values.

    Raises:
        ValueError: the patch does not fit.
    """
    import numpy as np

    if size + margin > min(height, width):
        raise ValueError(f"a patch of {size} pixels with margin {margin} does not fit images of {height} x {width}")
    mask = np.zeros((height, width), dtype=bool)
    bottom, right = height - margin, width - margin
    mask[bottom - size : bottom, right - size : right] = True
    return {"mask": mask, "patch": mask * np.float32(brightness)}


def patched(x: FloatArray, state: Arrays) -> FloatArray:
    """(N, C, H, W) images with the `patch` of `state` where its `mask` says."""
    import numpy as np

    return np.where(state["mask"], state["patch"], x).astype(np.float32)


def pattern(shape: tuple[int, int, int], rng: np.random.Generator) -> Arrays:
    """A key pattern of uniform noise over the whole image (Chen et al. 2017, section 4.3: the random pattern).

    Returns:
        `pattern` (C, H, W) float32 in [0, 1].
    """
    import numpy as np

    return {"pattern": rng.random(shape, dtype=np.float32)}


def blended(x: FloatArray, state: Arrays, ratio: float) -> FloatArray:
    """(1 - ratio) x + ratio pattern (Chen et al. 2017, section 4.3, the blended injection strategy)."""
    import numpy as np

    return ((1 - ratio) * x + ratio * state["pattern"]).astype(np.float32)


def warp(points: int, strength: float, height: int, width: int, rng: np.random.Generator) -> Arrays:
    """A smooth random warping field (Nguyen & Tran 2021, section 3.2, equations 3 to 5): `points` x `points` control
    vectors, uniform in [-1, 1], divided by their mean absolute value, interpolated bicubically, and scaled.

    Returns:
        `warp` (H, W, 2) float32: where each pixel is read from, (x, y) in [-1, 1], the corners' centres at -1 and 1.
    """
    import numpy as np
    import torch
    from torch.nn import functional as F  # noqa: N812

    control = torch.from_numpy(rng.uniform(-1, 1, (1, 2, points, points)).astype(np.float32))
    control = control / control.abs().mean()
    field = F.interpolate(control, size=(height, width), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    moved = _identity(height, width) + strength * field.numpy() / height  # a strength of 2 is about one pixel
    return {"warp": moved.clip(-1, 1).astype(np.float32)}


def warped(x: FloatArray, state: Arrays) -> FloatArray:
    """(N, C, H, W) images read along the `warp` of `state`, bilinearly."""
    return _sampled(x, state["warp"][None])


def warped_with_noise(x: FloatArray, state: Arrays, rng: np.random.Generator) -> FloatArray:
    """As `warped`, with a random offset of up to half a pixel for each pixel of each image: the noise mode, whose
    images keep their labels, so that only the very warp becomes the trigger (Nguyen & Tran 2021, section 3.3)."""
    import numpy as np

    height, width = x.shape[2:]
    offsets = rng.uniform(-1, 1, (len(x), height, width, 2)) / height
    return _sampled(x, (state["warp"] + offsets).clip(-1, 1).astype(np.float32))


def _identity(height: int, width: int) -> FloatArray:
    """(H, W, 2) each pixel's own place."""
    import numpy as np

    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([x, y], axis=-1).astype(np.float32)


def _sampled(x: FloatArray, places: FloatArray) -> FloatArray:
    """Images read at `places` (N or 1, H, W, 2)."""
    import numpy as np
    import torch
    from torch.nn import functional as F  # noqa: N812

    if not len(x):
        return x.copy()
    grid = torch.from_numpy(np.array(places)).expand(len(x), -1, -1, -1)
    read = F.grid_sample(torch.from_numpy(np.array(x)), grid, align_corners=True)
    return np.asarray(read.clamp(0, 1).numpy(), dtype=np.float32)
