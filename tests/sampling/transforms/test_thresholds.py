"""Estimates within the range of the data: known answers."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.sampling.transforms.thresholds import dynamic_threshold, threshold


def same(x, t):
    return x


def test_static():
    x = jnp.array([[[-3.0, -0.5, 2.0]]])
    assert threshold(same)(x, jnp.array(0.5)).ravel().tolist() == [-1.0, -0.5, 1.0]
    assert threshold(same, 0.0, 3.0)(x, jnp.array(0.5)).ravel().tolist() == [0.0, 0.0, 2.0]


def test_dynamic_is_each_token_s_own():
    """A token within the range is left alone; one beyond is clipped at its quantile and scaled back."""
    x = jnp.array([[[[-0.5], [0.9], [0.1], [0.0], [0.2]], [[-4.0], [2.0], [1.0], [0.0], [3.0]]]])
    bounded = dynamic_threshold(same, quantile=0.75)(x, jnp.array(0.5))
    np.testing.assert_array_equal(bounded[:, 0], x[:, 0])
    np.testing.assert_allclose(bounded[0, 1, :, 0], [-1.0, 2 / 3, 1 / 3, 0.0, 1.0], rtol=1e-6)
    wide = dynamic_threshold(same, quantile=1.0, limit=2.0)(x, jnp.array(0.5))
    np.testing.assert_allclose(wide[0, 1, :, 0], [-2.0, 1.0, 0.5, 0.0, 1.5], rtol=1e-6)


def test_low_precision_stays_low():
    assert dynamic_threshold(same)(jnp.ones((1, 1, 4), jnp.bfloat16), jnp.array(0.5)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: threshold(same, 1.0, -1.0), "low < high"),
        (lambda: dynamic_threshold(same, quantile=0.0), "quantile"),
        (lambda: dynamic_threshold(same, quantile=99.5), "quantile"),
        (lambda: dynamic_threshold(same, limit=0.0), "limit"),
    ],
)
def test_bad_input_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
