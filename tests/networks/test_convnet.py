"""The small convolutional network: its size, what a pixel sees, other image sizes."""

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.convnet import convnet


def block(channels, width):
    match = channels * width + width if channels != width else 0
    return 2 * channels + (9 * channels * width + width) + (128 * 2 * width + 2 * width) + 2 * width + (
        9 * width * width + width
    ) + match  # fmt: skip


def test_parameters_by_hand(parameters):
    embedding = (64 * 128 + 128) + (128 * 128 + 128)
    ends = (9 * 3 * 8 + 8) + 2 * 8 + (9 * 8 * 6 + 6)
    flat = embedding + ends + 2 * block(8, 8)
    x, noise = jnp.zeros((1, 1, 4, 4, 3)), jnp.zeros((1, 1))
    assert parameters(convnet(8, 2, (1,), 4, outputs=2), x, noise) == flat
    deep = embedding + ends + block(8, 8) + block(8, 16) + (16 * 8 + 8) + block(8, 8)
    assert parameters(convnet(8, 1, (1, 2), 4, outputs=2), x, noise) == deep


def test_parameters_do_not_depend_on_the_size_of_the_image(filled):
    network = convnet(8, 1, [1, 2], groups=4)
    noise = jnp.full((1, 1), 0.5)
    variables = filled(network, jnp.zeros((1, 1, 8, 8, 1)), noise)
    out = jax.eval_shape(network.apply, variables, jnp.ones((2, 1, 4, 12, 1)), noise)
    assert out.shape == (2, 1, 4, 12, 1)


def test_every_pixel_sees_every_other(key, filled):
    network = convnet(8, 1, groups=4)
    noise = jnp.full((1, 1), 0.5)
    x = jax.random.normal(key, (1, 1, 8, 8, 1))
    variables = filled(network, x, noise)
    seen = jax.jit(jax.grad(lambda x: network.apply(variables, x, noise)[0, 0, 0, 0, 0]))(x)
    assert (np.abs(seen) > 0).all()
