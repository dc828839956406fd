"""Resampling against the definition, a sum over taps with zeros outside the image."""

import jax
import numpy as np
import pytest

from diffusion_jax.networks.resample import bordered, box, smooth, smooth_valid

both = pytest.mark.parametrize("resampling", [box, smooth], ids=["box", "smooth"])


def matrix(taps, size):
    """down as a matrix [size / 2, size]: row i has the taps around pixels 2i and 2i + 1."""
    pad = (len(taps) - 1) // 2
    out = np.zeros((size // 2, size + 2 * pad))
    for row in range(size // 2):
        out[row, 2 * row : 2 * row + len(taps)] = np.array(taps) / sum(taps)
    return out[:, pad : pad + size]


@both
def test_down_is_the_filter_with_stride_two_and_up_its_transpose(resampling, key):
    x = jax.random.normal(key, (2, 1, 6, 8, 3))
    tall, wide = matrix(resampling.taps, 6), matrix(resampling.taps, 8)
    np.testing.assert_allclose(
        resampling.down(x), np.einsum("ih,jw,bthwc->btijc", tall, wide, x), rtol=1e-5, atol=1e-6
    )
    small = x[:, :, :3, :4]
    np.testing.assert_allclose(
        resampling.up(small), 4 * np.einsum("ih,jw,btijc->bthwc", tall, wide, small), rtol=1e-5, atol=1e-6
    )


@both
def test_a_constant_stays_constant_inside(resampling):
    x = np.ones((1, 1, 8, 8, 1), np.float32)
    np.testing.assert_allclose(resampling.down(x)[:, :, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(resampling.up(x)[:, :, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(resampling.kernel().sum(), 1, rtol=1e-6)


def test_valid_is_down_of_the_padded_image(key):
    x = jax.random.normal(key, (1, 2, 6, 4, 2))
    np.testing.assert_allclose(smooth_valid(bordered(x)), smooth.down(x), rtol=1e-6)
    np.testing.assert_array_equal(bordered(x), np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)]))
