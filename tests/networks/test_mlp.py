"""The perceptron: size, and tokens seen together."""

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.networks.mlp import mlp


def test_parameters_by_hand(parameters):
    x, noise = jnp.zeros((1, 2, 5)), jnp.zeros((1, 1))
    embedding = (64 * 128 + 128) + (128 * 128 + 128)
    block = (128 * 2 * 16 + 2 * 16) + 2 * 16 + 2 * (16 * 16 + 16)
    ends = (5 * 16 + 16) + 2 * 16
    total = embedding + 3 * block + ends + (16 * 5 + 5)
    assert parameters(mlp(16, 3), x, noise) == total
    assert parameters(mlp(16, 3, outputs=2), x, noise) == total + 16 * 5 + 5
    assert parameters(mlp(16, 3, labels=10), x, noise) == total + 11 * 128
    levels = 3 * 128 * 2 * 16  # every block sees the embeddings of both tokens
    assert parameters(mlp(16, 3, joint=True), x, noise) == total + levels + 5 * 16 + 16 * 5 + 5


def test_joint_tokens_see_each_other_and_every_level(key, filled):
    network = mlp(8, 2, joint=True)
    x = jax.random.normal(key, (3, 2, 1))
    noise = jnp.array([[0.0, 0.5]])
    variables = filled(network, x, noise)
    apply = jax.jit(network.apply)
    out = apply(variables, x, noise)
    assert out.shape == x.shape
    other_data = apply(variables, x.at[:, 1].add(1.0), noise)
    other_level = apply(variables, x, jnp.array([[0.0, 1.5]]))
    assert jnp.abs(other_data[:, 0] - out[:, 0]).min() > 1e-4
    assert jnp.abs(other_level[:, 0] - out[:, 0]).min() > 1e-4
    one = apply(variables, x, jnp.full((1, 1), 0.7))
    np.testing.assert_allclose(apply(variables, x, jnp.full((3, 2), 0.7)), one, rtol=1e-4, atol=1e-6)


def test_outputs_of_joint_tokens_stay_with_their_token(key):
    """Trained on a bias alone, each output lands at its own token and part."""
    network = mlp(4, 1, joint=True, outputs=2)
    x, noise = jax.random.normal(key, (3, 2, 1)), jnp.zeros((1, 1))
    variables = jax.jit(network.init)(key, x, noise)
    readout = [name for name in variables["params"] if name.startswith("Dense")][-1]
    bias = variables["params"][readout]["bias"]
    variables["params"][readout]["bias"] = jnp.arange(bias.size, dtype=bias.dtype)
    np.testing.assert_array_equal(
        jax.jit(network.apply)(variables, x, noise), np.broadcast_to([[0, 1], [2, 3]], (3, 2, 2))
    )
