"""What every network promises, by discovery. Each module gives `SHAPES`, an input that its example takes."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax import build as building
from diffusion_jax.build import build


@functools.cache
def example(name):
    """(network, input shape, variables, jitted (x, noise) -> out); random weights, many start at zero."""
    network = build("network", building.example("network", name))
    shape = importlib.import_module(building._locate("network", name)).SHAPES[name]
    key = jax.random.key(0)
    like = jax.eval_shape(network.init, key, jnp.zeros(shape), jnp.full(shape[:2], 0.5), {})
    leaves, tree = jax.tree.flatten(like)
    rng = np.random.default_rng(0)
    variables = jax.tree.unflatten(
        tree, [rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype) for leaf in leaves]
    )
    return network, shape, variables, jax.jit(lambda x, noise: network.apply(variables, x, noise, {}))


@pytest.fixture
def shape(network_spec):
    return example(network_spec["name"])[1]


@pytest.fixture
def call(network_spec):
    return example(network_spec["name"])[3]


def test_every_shape_of_level_is_the_same_computation(call, shape, key):
    x = jax.random.normal(key, shape)
    full = call(x, jnp.full(shape[:2], 0.4))
    assert full.shape == shape
    assert full.dtype == x.dtype
    assert jnp.std(full) > 0
    for levels in ((1, 1), (shape[0], 1), (1, shape[1])):
        np.testing.assert_allclose(call(x, jnp.full(levels, 0.4)), full, rtol=1e-4, atol=1e-5)


def test_samples_do_not_see_each_other(call, shape, key):
    x = jax.random.normal(key, shape)
    noise = jnp.full((shape[0], 1), 0.4)
    other = x.at[1].set(7.0)
    np.testing.assert_allclose(call(other, noise)[0], call(x, noise)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(call(x, noise.at[1].set(0.8))[0], call(x, noise)[0], rtol=1e-5, atol=1e-6)


def test_the_output_depends_on_data_and_level(call, shape, key):
    x = jax.random.normal(key, shape)
    out = call(x, jnp.full((1, 1), 0.4))
    assert jnp.abs(call(x + 0.5, jnp.full((1, 1), 0.4)) - out).max() > 1e-5
    assert jnp.abs(call(x, jnp.full((1, 1), 0.8)) - out).max() > 1e-6


def test_gradients_are_finite_and_reach_every_parameter(network_spec, key):
    network, shape, variables, _ = example(network_spec["name"])
    x = jax.random.normal(key, shape)
    noise = jnp.linspace(0.2, 1.0, shape[0] * shape[1]).reshape(shape[:2])
    wanted = jax.random.normal(jax.random.fold_in(key, 1), shape)

    def loss(params):
        return ((network.apply({**variables, "params": params}, x, noise, {}) - wanted) ** 2).mean()

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert (leaf != 0).any(), path


@pytest.mark.parametrize("wrong", ["integers", "no features", "levels of another batch"])
def test_wrong_input_is_refused(call, shape, key, wrong):
    x, noise = jnp.zeros(shape), jnp.full((1, 1), 0.4)
    if wrong == "integers":
        with pytest.raises(TypeError, match="float"):
            call(x.astype(int), noise)
    elif wrong == "no features":
        with pytest.raises(ValueError, match="shape|axis"):
            call(x[..., 0].reshape(shape[:2] + (-1,))[..., 0], noise)
    else:
        with pytest.raises(ValueError, match="noise|level"):
            call(x, jnp.full((shape[0] + 1, 1), 0.4))
