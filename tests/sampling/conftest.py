"""Exact denoisers: what a perfectly trained network would say."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from diffusion_jax.levels import expand


def gaussian(process, mean, std):
    """The denoiser of data N(mean, std^2)."""

    def denoiser(x, t):
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    return denoiser


def mixture(process, means, weights, std):
    """The denoiser of a mixture of N(means[k], std^2 I) with the given weights; means [K, D], x [B, T, D]."""

    means, weights = jnp.asarray(means), jnp.asarray(weights)

    def denoiser(x, t):
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        variance = alpha**2 * std**2 + sigma**2
        residual = x[..., None, :] - alpha[..., None] * means.reshape((1, 1) + means.shape)
        log_weight = jnp.log(weights).reshape(1, 1, -1) - 0.5 * (residual**2).sum(-1) / variance
        chance = jax.nn.softmax(log_weight, axis=-1)[..., None]
        centre = (chance * means.reshape((1, 1) + means.shape)).sum(-2)
        return centre + alpha * std**2 / variance * (x - alpha * centre)

    return denoiser


def atoms(process, values):
    """The denoiser of data uniform on `values` [K, T, ...] of bits or categories: sum_k p(k | x) values[k].

    The tokens of a sequence are noised independently, so their log-likelihoods add.
    """

    def denoiser(x, t):
        def score(value):
            law = process.marginal(jnp.broadcast_to(value, x.shape), jnp.broadcast_to(t, x.shape[:2]))
            one = law.log_prob(x)
            return one.reshape(len(x), -1).sum(1)

        chance = jax.nn.softmax(jax.vmap(score)(values), axis=0)
        return jnp.einsum("kb,k...->b...", chance, values)

    return denoiser


@pytest.fixture(scope="session")
def oracles():
    """The exact denoisers above, by name."""
    return SimpleNamespace(gaussian=gaussian, mixture=mixture, atoms=atoms)
