"""Networks that embed noised samples: what each promises, by discovery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.build import available, build, example

B, T = 3, 2


@pytest.fixture(params=available("predictor"))
def case(request, key):
    network = build("predictor", example("predictor", request.param))
    x = jax.random.normal(key, (B, T, 4))
    return network, x, network.init(key, x, jnp.full((B, T), 0.4), {})


def test_features_are_one_vector_a_sample_for_every_shape_of_level(case):
    network, x, variables = case
    full = network.apply(variables, x, jnp.full((B, T), 0.4), {})
    assert full.shape[0] == B
    assert full.ndim == 2
    for shape in ((1, 1), (B, 1), (1, T)):
        np.testing.assert_allclose(network.apply(variables, x, jnp.full(shape, 0.4), {}), full, rtol=1e-5)


def test_features_tell_samples_apart_before_training(case):
    """A network that is never trained gives a context's covariance: its features must not be constant."""
    network, x, variables = case
    features = network.apply(variables, x, jnp.full((1, 1), 0.4), {})
    assert jnp.std(features, axis=0).max() > 1e-2
    other = network.apply(variables, x.at[1].add(1.0), jnp.full((1, 1), 0.4), {})
    np.testing.assert_allclose(other[0], features[0], rtol=1e-5)
    assert jnp.abs(other[1] - features[1]).max() > 1e-3


def test_the_level_enters(case):
    network, x, variables = case
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    filled = jax.tree.unflatten(
        tree, [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)]
    )
    low, high = (network.apply(filled, x, jnp.full((1, 1), noise), {}) for noise in (-1.0, 1.0))
    assert jnp.abs(low - high).max() > 1e-4


def test_pooling_keeps_images_apart_and_sizes(key):
    spec = {"name": "pooled", "network": {"name": "mlp", "width": 8, "depth": 1}, "width": 5}
    network, x = build("predictor", spec), jax.random.normal(key, (2, 1, 4, 4, 3))
    variables = network.init(key, x, jnp.zeros((2, 1)), {})
    features = network.apply(variables, x, jnp.zeros((2, 1)), {})
    assert features.shape == (2, 5)
    assert jnp.abs(features[0] - features[1]).max() > 1e-3


def test_wrong_numbers_and_inputs_are_refused(key):
    for spec in ({"name": "perceptron", "width": 0}, {"name": "pooled", "network": "mlp", "width": 0}):
        with pytest.raises(ValueError, match="width must be at least 1"):
            build("predictor", spec)
    network = build("predictor", {"name": "perceptron", "width": 4, "depth": 0})
    with pytest.raises(ValueError, match="noise"):
        network.init(key, jnp.zeros((2, 1, 3)), jnp.zeros((3, 1)), {})
    with pytest.raises(ValueError, match="label"):
        network.init(key, jnp.zeros((2, 1, 3)), jnp.zeros((2, 1)), {"label": jnp.zeros(2, int)})
