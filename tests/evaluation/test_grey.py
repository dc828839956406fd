"""From samples to grey values: the round trip of every scale, and EDM's rule for 256 levels."""

import numpy as np
import pytest

from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Arrays
from diffusion_jax.evaluation.grey import grey_values, images, rgb


def dataset(levels, channels=1, **options):
    rng = np.random.default_rng(0)
    stored = Arrays({"x": rng.integers(0, levels, (20, 1, 4, 4, channels)).astype(np.uint8)})
    return stored.examples["x"].astype(int), image_dataset(
        {"train": stored, "test": stored}, levels, "", "", **options
    )


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize("options", [{}, {"dequantise": True}, {"standardise": True}], ids=str)
def test_data_give_back_their_grey_values(levels, options):
    stored, data = dataset(levels, **options)
    batch = next(data.epoch("train", 20))
    np.testing.assert_array_equal(grey_values(batch["x"], data.info), stored)
    shown = images(batch["x"], data.info)
    np.testing.assert_allclose(shown, 2 * stored / (levels - 1) - 1, atol=1e-6)
    assert shown.dtype == np.float32


def test_samples_of_256_levels_are_rounded_as_in_edm():
    _, data = dataset(256)
    x = np.linspace(-1.2, 1.2, 4001).reshape(1, 1, 1, -1, 1)
    expected = np.clip(x * 127.5 + 128, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(grey_values(x, data.info), expected)


def test_images_for_evaluators_outside():
    stored, data = dataset(17)
    out = rgb(next(data.epoch("train", 20))["x"], data.info)
    assert (out.shape, out.dtype) == ((20, 4, 4, 3), np.uint8)
    np.testing.assert_array_equal(out[..., 0], np.rint(stored[:, 0, ..., 0] * 255 / 16))
    np.testing.assert_array_equal(out, out[..., :1].repeat(3, -1))
    stored, data = dataset(256, channels=3)
    np.testing.assert_array_equal(rgb(next(data.epoch("train", 20))["x"], data.info), stored[:, 0])


def test_what_is_no_image():
    _, data = dataset(256, channels=2)
    with pytest.raises(ValueError, match=r"C = 1 or 3, got shape \(3, 1, 4, 4, 2\)"):
        rgb(np.zeros((3, 1, 4, 4, 2)), data.info)
    with pytest.raises(ValueError, match="1 of 2 numbers of the samples are not finite"):
        grey_values(np.array([0.0, np.nan]), data.info)
    points = data.info._replace(levels=None)
    with pytest.raises(ValueError, match="no grey levels"):
        grey_values(np.zeros(2), points)
    np.testing.assert_array_equal(images(np.array([0.3]), points), np.float32([0.3]))
