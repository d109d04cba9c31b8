"""Feature squeezing and JPEG: what they do to images, and that gradients pass them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import median_filter

from sparring.contracts import Aux
from sparring.model import MeteredModel
from sparring.threat import Access, Norm, ThreatModel
from sparring_attacks import pgd
from sparring_defences import feature_squeezing, jpeg

SHAPES = [(1, 8, 8), (3, 7, 5), (1, 28, 28), (3, 32, 32), (2, 9, 16), (1, 1, 1)]
GUARDS = [
    feature_squeezing.FeatureSqueezing(feature_squeezing.Params()),
    feature_squeezing.FeatureSqueezing(feature_squeezing.Params(bit_depth=1, window=3)),
    jpeg.Jpeg(jpeg.Params(quality=50)),
]


def random_images(shape: tuple[int, int, int], count: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    bits=st.integers(1, 8),
    window=st.integers(1, 5),
    shape=st.sampled_from(SHAPES),
    count=st.integers(0, 3),
)
def test_squeezed_values_lie_on_the_grid(bits: int, window: int, shape: tuple[int, int, int], count: int) -> None:
    squeezing = feature_squeezing.FeatureSqueezing(feature_squeezing.Params(bit_depth=bits, window=window))
    squeezed = squeezing.squeezed(random_images(shape, count))
    assert squeezed.shape == (count, *shape)
    levels = squeezed * (2**bits - 1)
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert not count or 0 <= float(squeezed.min()) <= float(squeezed.max()) <= 1


@pytest.mark.fidelity
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [2, 3, 4, 5])
def test_median_is_that_of_scipy_which_the_paper_uses(window: int, shape: tuple[int, int, int]) -> None:
    x = random_images(shape)
    expected = median_filter(x.numpy(), size=(1, 1, window, window), mode="reflect")
    np.testing.assert_array_equal(feature_squeezing.median(x, window).numpy(), expected)


@pytest.mark.fidelity
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bit_depth_is_that_of_art(bits: int) -> None:
    from art.defences.preprocessor import FeatureSqueezing

    x = random_images((3, 7, 5))
    expected, _ = FeatureSqueezing(clip_values=(0.0, 1.0), bit_depth=bits)(x.numpy())
    np.testing.assert_allclose(feature_squeezing.reduced(x, bits).numpy(), expected, atol=1e-6)


def test_eight_bits_without_window_leave_8_bit_images_alone() -> None:
    squeezing = feature_squeezing.FeatureSqueezing(feature_squeezing.Params(bit_depth=8, window=1))
    x = torch.arange(256).view(1, 1, 16, 16).float() / 255
    torch.testing.assert_close(squeezing.squeezed(x), x, atol=1e-7, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("quality", [10, 75])
def test_jpeg_gives_what_compressing_one_image_after_the_other_gives(shape: tuple[int, int, int], quality: int) -> None:
    x = (random_images(shape, count=7) * 255).round() / 255
    result = jpeg.Jpeg(jpeg.Params(quality=quality)).compressed(x)
    assert result.shape == x.shape
    assert result.dtype == torch.float32

    def alone(pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="jpeg", quality=quality)
        return np.asarray(Image.open(file))

    for image, compressed in zip((x * 255).round().to(torch.uint8).numpy(), result.numpy() * 255, strict=True):
        if shape[0] == 3:
            expected = alone(image.transpose(1, 2, 0)).transpose(2, 0, 1)
        else:
            expected = np.stack([alone(channel) for channel in image])
        np.testing.assert_allclose(compressed, expected, atol=1e-3)


def test_lower_quality_changes_more() -> None:
    x = random_images((1, 28, 28))
    changes = [(jpeg.Jpeg(jpeg.Params(quality=q)).compressed(x) - x).abs().mean() for q in (95, 50, 5)]
    assert changes[0] < changes[1] < changes[2]


def test_jpeg_of_no_image_is_no_image() -> None:
    assert jpeg.Jpeg(jpeg.Params()).compressed(torch.empty(0, 1, 8, 8)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5)])
@pytest.mark.parametrize("defence", GUARDS, ids=lambda d: type(d).__name__)
def test_guarded_model_answers_on_transformed_images_and_gradients_pass(defence, linear, context, shape) -> None:
    model = linear(shape)
    guard = defence.guard(model, context())
    assert not guard.randomised
    assert Access.WEIGHTS not in guard.model.offers
    x = random_images(shape)
    kept = x.clone()
    transform = getattr(defence, "squeezed", None) or defence.compressed
    assert not torch.equal(transform(x), x)
    assert torch.equal(guard.model.scores(x), model.scores(transform(x)))
    assert torch.equal(guard.model.scores(x), guard.model.scores(x))
    y = torch.zeros(len(x), dtype=torch.int64)
    # straight through: the gradient of the bare model, taken at the transformed images
    torch.testing.assert_close(guard.model.gradient(x, y), model.gradient(transform(x), y))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("defence", GUARDS, ids=lambda d: type(d).__name__)
def test_adaptive_pgd_harms_a_guarded_model_as_much_as_an_oblivious_one(defence, linear, context) -> None:
    """The guard is no obstacle to who knows it: both backends see gradients through it."""
    shape = (1, 8, 8)
    model, x = linear(shape), random_images(shape, count=40)
    guarded = defence.guard(model, context()).model
    y = guarded.predict(x)

    def left_right(attacked: object, backend: str) -> float:
        attack = pgd.ProjectedGradientDescent(pgd.Params(steps=10, backend=backend))
        view = MeteredModel(attacked, frozenset({Access.GRADIENTS}))
        threat = ThreatModel(norm=Norm.LINF, epsilon=0.2)
        x_adv = attack.perturb(view, x, y, threat, Aux(), context())
        return float((guarded.predict(x_adv) == y).float().mean())

    for backend in ("torchattacks", "art"):
        assert left_right(guarded, backend) <= left_right(model, backend) + 0.05 < 1
