"""Fourier features tell levels apart over the whole range, and near steps too."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.embeddings import Conditioning, Fourier


def test_features_have_unit_length_pairs_and_no_two_levels_look_alike():
    labels = jnp.linspace(-2.5, 4.0, 400)
    features = np.asarray(Fourier().apply({}, labels))
    assert features.shape == (400, 64)
    np.testing.assert_allclose((features[:, :32] ** 2 + features[:, 32:] ** 2), 1.0, rtol=1e-5)
    distance = np.linalg.norm(features[:, None] - features[None], axis=-1)
    separated = np.abs(np.subtract.outer(np.arange(400), np.arange(400))) > 0
    assert distance[separated].min() > 0.5


def test_features_turn_by_their_frequencies():
    zero, small = np.asarray(Fourier(4, lowest=1.0, highest=10.0).apply({}, jnp.array([0.0, 0.01])))
    np.testing.assert_allclose(zero, [1, 1, 0, 0])
    np.testing.assert_allclose(small[2:], [0.01, 0.1], rtol=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (1, 3), (4, 3)])
def test_conditioning_costs_what_the_levels_cost(shape, key):
    noise = jnp.zeros(shape)
    embedding, variables = Conditioning(16).init_with_output(key, noise, None, 4)
    assert embedding.shape == shape + (16,)
    classes = Conditioning(16, labels=2)
    assert classes.init_with_output(key, noise, {}, 4)[0].shape == (4, shape[1], 16)
    assert variables["params"].keys() == {"Dense_0", "Dense_1"}
