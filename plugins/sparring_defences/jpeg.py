"""JPEG compression as an input filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.plugin import Act, DefenceSpec, param

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from sparring.contracts import Context
    from sparring.model import Guard, Model

BLOCK = 8
"""JPEG transforms and quantises blocks of 8 x 8 pixels, each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    quality: int = param(75, "JPEG quality; lower removes more", at_least=1, at_most=95)


class Jpeg:
    """Compresses and decompresses every image with libjpeg (through Pillow). Three channels are compressed as colour,
    chroma subsampled as usual; any other number, each channel as a grey image. Values are rounded to 8 bits first
    (ART's `JpegCompression` truncates them, which darkens). An adaptive attacker's gradient passes straight through
    (Athalye et al. 2018, section 4.1)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def guard(self, model: Model, ctx: Context) -> Guard:
        from sparring.model import Guard, TransformedModel

        return Guard(TransformedModel(model, self.compressed, backward="identity"))

    def compressed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to the same, multiples of 1/255."""
        import numpy as np
        import torch

        if len(x) == 0:
            return x.clone()
        pixels = (x.detach() * 255).round().to(torch.uint8).cpu().numpy()
        if pixels.shape[1] == 3:
            colour = [_through_jpeg(image, self.params.quality) for image in pixels.transpose(0, 2, 3, 1)]
            result = np.stack(colour).transpose(0, 3, 1, 2)
        else:
            grey = pixels.reshape(-1, *pixels.shape[2:])
            result = compressed_grey(grey, self.params.quality).reshape(pixels.shape)
        return torch.from_numpy(result.astype(np.float32) / np.float32(255)).to(x.device)


def compressed_grey(images: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(N, H, W) grey images, each as if compressed alone, by compressing one mosaic of all: six times as fast.

    The edges are repeated up to whole blocks, which is what libjpeg does with a single image; blocks know nothing of
    each other.
    """
    import numpy as np

    count, height, width = images.shape
    tall, wide = (-(-size // BLOCK) * BLOCK for size in (height, width))
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    tiles = np.zeros((down * across, tall, wide), dtype=np.uint8)
    tiles[:count] = np.pad(images, ((0, 0), (0, tall - height), (0, wide - width)), mode="edge")
    mosaic = tiles.reshape(down, across, tall, wide).swapaxes(1, 2).reshape(down * tall, across * wide)
    back = _through_jpeg(mosaic, quality).reshape(down, tall, across, wide).swapaxes(1, 2)
    return back.reshape(down * across, tall, wide)[:count, :height, :width]


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[Any]:
    """(H, W) or (H, W, 3) uint8, compressed and decompressed."""
    import io

    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, format="jpeg", quality=quality)
    return np.asarray(Image.open(file))


SPEC = DefenceSpec(
    name="jpeg",
    summary="JPEG compression in front of the model.",
    citation="Dziugaite, Ghahramani, Roy 2016, A study of the effect of JPG compression on adversarial images; "
    "arXiv 1608.00853",
    params=Params,
    randomised=False,
    load=Jpeg,
    acts=frozenset({Act.GUARD}),
)
