"""The network that knows a mode's shape: exact where there is one mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.networks.latents import latent_tokens
from diffusion_jax.networks.mlp import mlp
from diffusion_jax.networks.single_mode import single_mode
from diffusion_jax.preconditioning import edm as edm_coefficients
from diffusion_jax.preconditioning import precondition
from diffusion_jax.processes import edm

STD, CENTRE = 0.2, np.array([1.5, -3.0])
PROCESS = edm(20.0)


def denoiser(network, params, **conditions):
    def call(x, noise):
        return network.apply({"params": params}, x, noise, conditions)

    return precondition(call, PROCESS, lambda process: edm_coefficients(process, STD))


def test_it_denoises_one_normal_exactly_once_it_knows_the_centre(key):
    network = single_mode(mlp(width=8, depth=1), STD)
    x = jax.random.normal(key, (4, 3, 2))
    params = network.init(key, x, jnp.zeros((4, 1)))["params"] | {"centre": jnp.asarray(CENTRE[None])}
    for sigma in (0.05, 1.0, 10.0):
        found = denoiser(network, params)(x, PROCESS.time(jnp.asarray(sigma)))
        wanted = (STD**2 * x + sigma**2 * CENTRE.reshape(1, 1, 2)) / (STD**2 + sigma**2)
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_the_latents_tell_the_centre_and_nothing_else(key):
    network = single_mode(mlp(width=8, depth=1), STD, latent_tokens(1, 3, width=4, depth=0, heads=1))
    x = jnp.zeros((4, 2, 2))
    variables = network.init(key, x, jnp.zeros((4, 1)), {"latents": jnp.zeros((4, 1), int)})
    first = {"latents": jnp.asarray([[0], [1], [2], [-1]])}
    np.testing.assert_array_equal(network.apply(variables, x, jnp.zeros((4, 1)), first), 0)
    told = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf + ("centre" in jax.tree_util.keystr(path)) * jax.random.normal(key, leaf.shape)
        ),
        variables,
    )
    found = network.apply(told, x, jnp.zeros((4, 1)), first)
    assert len(np.unique(np.round(found[:, 0, 0], 5))) == 4
    np.testing.assert_allclose(found[:, 0], found[:, 1])
    noisier = network.apply(told, x, jnp.full((4, 1), 1.0), first)
    growth = np.asarray(noisier / found)
    ratio = np.exp(4.0)
    np.testing.assert_allclose(growth, ratio * np.sqrt((1 + STD**2) / (ratio**2 + STD**2)), rtol=1e-5)


def test_what_makes_no_sense_is_refused(key):
    tokens = latent_tokens(1, 3, width=4, depth=0, heads=1)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        single_mode(mlp(), 0)
    with pytest.raises(ValueError, match="build the network inside without them"):
        single_mode(mlp(latents=tokens), STD)
    x = jnp.zeros((1, 1, 2))
    with pytest.raises(ValueError, match="takes none"):
        single_mode(mlp(), STD).init(key, x, jnp.zeros((1, 1)), {"latents": jnp.zeros((1, 1), int)})
