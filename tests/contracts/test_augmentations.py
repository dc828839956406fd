"""What every augmentation promises, by discovery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import build

KEY = jax.random.key(4)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (24, 2, 6, 8, 3))


def test_images_and_labels(augmentation_spec, images):
    """Some change, those whose label is zero do not, and all frames of a sample are treated alike."""
    augment = jax.jit(build("augmentation", augmentation_spec))
    frames = jnp.repeat(images[:, :1], 2, axis=1)
    x, label = augment(KEY, frames)
    assert (x.shape, x.dtype) == (images.shape, images.dtype)
    assert (label.shape, label.dtype) == ((24, 9), jnp.float32)
    assert np.isfinite(x).all()
    assert np.isfinite(label).all()
    np.testing.assert_allclose(x[:, 0], x[:, 1], atol=1e-5)
    untouched = np.asarray(label == 0).all(axis=1)
    np.testing.assert_array_equal(x[untouched], frames[untouched])
    assert 0 < untouched.sum() < 24
    assert np.abs(x - frames).max(axis=(1, 2, 3, 4))[~untouched].min() > 1e-3


def test_a_sample_does_not_depend_on_its_batch(augmentation_spec, images):
    augment = jax.jit(build("augmentation", augmentation_spec))
    for few, all_of in zip(augment(KEY, images[:5]), augment(KEY, images)):
        np.testing.assert_allclose(few, all_of[:5], rtol=1e-5, atol=1e-5)


def test_it_compiles_once(augmentation_spec, images):
    augment = jax.jit(build("augmentation", augmentation_spec))
    different = [np.asarray(augment(jax.random.key(i), images * i)[1]) for i in (1, 2)]
    assert augment._cache_size() == 1
    assert (different[0] != different[1]).any()
