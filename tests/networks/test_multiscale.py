"""The multi-scale network of 2015: its bumps, its size, what a pixel can see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.multiscale import MultiscaleConvolution, bump_weights, multiscale


def test_bumps_are_a_partition_of_unity_with_neighbours_a_width_apart():
    weights = np.asarray(bump_weights(jnp.linspace(0.0, 1.0, 101)[None], 10))[0]
    assert weights.shape == (101, 10)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(weights[[5, 15, 95]].argmax(-1), [0, 1, 9])  # centres .05, .15, .95
    np.testing.assert_allclose(weights[55, 5] / weights[55, 6], np.exp(0.5), rtol=1e-5)  # one width away
    np.testing.assert_allclose(weights[50, 4], weights[50, 5], rtol=1e-5)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=1e-4, atol=1e-8)


def test_one_bump_makes_the_network_blind_to_t(key, filled):
    network = multiscale(scales=1, filters=2, layers=1, bumps=1)
    x = jax.random.normal(key, (1, 1, 4, 4, 1))
    variables = filled(network, x, jnp.zeros((1, 1)))
    early, late = (jax.jit(network.apply)(variables, x, jnp.full((1, 1), t)) for t in (0.1, 0.9))
    np.testing.assert_array_equal(early, late)


def test_parameters_by_hand(parameters):
    x, noise = jnp.zeros((1, 1, 8, 8, 3)), jnp.zeros((1, 1))
    convolutions = 3 * (9 * 3 * 6 + 6) + 3 * (9 * 6 * 6 + 6)
    dense = (192 * 7 + 7) + (7 * 64 * 2 + 64 * 2)
    pixels = ((6 + 2) * 5 + 5) + (5 * 5 + 5)
    readout = 5 * 4 * 2 * 3 + 4 * 2 * 3
    network = multiscale(
        scales=3, filters=6, layers=2, pixel_width=5, pixel_depth=2,
        dense_width=7, dense_depth=1, dense_features=2, bumps=4, outputs=2,
    )  # fmt: skip
    assert parameters(network, x, noise) == convolutions + dense + pixels + readout


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_each_scale_widens_what_a_pixel_sees(scales):
    """A 3x3 kernel over blocks of 2^(scales - 1) pixels: pixel 8 begins one of three it sees."""
    layer = MultiscaleConvolution(scales, 2, 3)
    x = jnp.zeros((1, 1, 16, 16, 1))
    like = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), like)
    seen = jax.jit(jax.grad(lambda x: layer.apply(variables, x)[0, 0, 8, 8, 0]))(x)[0, 0, :, :, 0] != 0
    block = 2 ** (scales - 1)
    np.testing.assert_array_equal(np.flatnonzero(seen[8]), np.arange(8 - block, 8 + 2 * block))


def test_a_constant_image_adds_up_over_the_scales():
    layer = MultiscaleConvolution(3, 1, 1)
    x = jnp.full((1, 1, 8, 8, 1), 2.0)
    like = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), like)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), 3 * (2.0 + 1.0))


def test_the_dense_path_alone_sees_the_whole_image(filled, key):
    network = multiscale(layers=0, dense_depth=2, dense_width=6)
    x = jax.random.normal(key, (1, 1, 3, 5, 1))  # no scales, so any sides
    variables = filled(network, x, jnp.zeros((1, 1)))
    half = jnp.full((1, 1), 0.5)
    seen = jax.jit(jax.grad(lambda x: network.apply(variables, x, half)[0, 0, 0, 0, 0]))(x)
    assert (seen != 0).all()
