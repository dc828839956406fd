"""A diffusion model as the prior of latents: an exact one has the right loss and draws the right law."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax import preconditioning
from diffusion_jax.levels import with_clean
from diffusion_jax.objectives import weights
from diffusion_jax.objectives.denoising import denoising
from diffusion_jax.processes import edm
from diffusion_jax.sampling.grids import karras_grid
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.latent_prior import diffused

MEANS = np.array([2.0, -1.0])
STD = 0.5


class Exact(nn.Module):
    """E[z | z_t] where latent i is normal about MEANS[i] + label, with standard deviation STD, under EDM."""

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        error = self.param("error", nn.initializers.zeros, ())
        variance = jnp.exp(8 * noise)[..., None]
        x = x * jnp.sqrt(1 + variance)
        mean = conditions["condition"] @ jnp.asarray(MEANS)[:, None] + conditions["label"][:, None, None]
        return (STD**2 * x + variance * mean) / (STD**2 + variance) + error


def at_one(key, shape):
    return jnp.full(shape, edm().time(jnp.asarray(1.0)))


def exact(levels=at_one):
    objective = denoising(Exact(), edm(), preconditioning.x0, levels, weights.x0)
    return diffused(2, 3, objective, heun, lambda process: karras_grid(process, 30))


@pytest.mark.parametrize("levels", [at_one, with_clean(at_one, 0.5)])
def test_a_samples_loss_is_the_mean_over_tokens_that_carry_any(levels, key):
    """At sigma = 1 the posterior variance of each of three features; nothing where both tokens are clean."""
    prior, label = exact(levels), jnp.arange(20_000) % 2
    noise = jax.random.normal(key, (20_000, 2, 3))
    z = jnp.asarray(MEANS)[None, :, None] + label[:, None, None] + STD * noise
    variables = prior.init(key, z, {"label": label})
    value, state = prior.loss(variables, jax.random.fold_in(key, 1), z, {"label": label})
    assert value.shape == (20_000,)
    assert jax.tree.structure(state) == jax.tree.structure(variables.state)
    idle = 0.0 if levels is at_one else 0.25
    np.testing.assert_allclose((value == 0).mean(), idle, atol=0.02)
    np.testing.assert_allclose(value[value > 0].mean(), 3 * STD**2 / (STD**2 + 1), rtol=0.03)


def test_draws_have_the_law_that_the_denoiser_knows_and_a_key_of_their_own(key):
    prior, label = exact(), jnp.arange(4000) % 2
    variables = prior.init(key, jnp.zeros((1, 2, 3)), {"label": label[:1]})
    keys = jax.random.split(key, 4000)
    z = prior.sample(variables, keys, {"label": label})
    assert z.shape == (4000, 2, 3)
    for one in (0, 1):
        each = np.asarray(z)[np.asarray(label) == one]
        np.testing.assert_allclose(each.mean((0, 2)), MEANS + one, atol=0.04)
        np.testing.assert_allclose(each.std((0, 2)), STD, rtol=0.05)
    few = prior.sample(variables, keys[5:1:-1], {"label": label[5:1:-1]})
    np.testing.assert_allclose(few, z[5:1:-1], rtol=1e-4, atol=1e-5)


def test_other_latents_are_refused(key):
    with pytest.raises(ValueError, match="over 2 latents of 3 features; got latents of 2 x 4"):
        exact().init(key, jnp.zeros((1, 2, 4)), {})
    with pytest.raises(ValueError, match="at least 1, got 0 and 3"):
        diffused(0, 3, None, heun, None)
