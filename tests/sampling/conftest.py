"""Exact denoisers: what a perfectly trained network would say."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_jax.levels import expand


def gaussian(process, mean, std):
    """The denoiser of data N(mean, std^2)."""

    def denoiser(x, t):
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    return denoiser


def correlated(process, mean, covariance):
    """The denoiser of data N(mean, covariance) over the entries of a token; x [B, T, D]."""
    variances, axes = np.linalg.eigh(covariance)
    mean, variances = (jnp.asarray(v).reshape(1, 1, -1) for v in (mean, variances))

    def denoiser(x, t):
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        gain = alpha * variances / (alpha**2 * variances + sigma**2)
        return mean + ((x - alpha * mean) @ axes * gain) @ axes.T

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


def flow(process, x, t, s, mean, std):
    """The exact flow of N(mean, std^2): (x - alpha mean)/sqrt(alpha^2 std^2 + sigma^2) is constant."""

    def centre_and_width(u):
        alpha, sigma = process.alpha(u), process.sigma(u)
        return alpha * mean, jnp.sqrt(alpha**2 * std**2 + sigma**2)

    (m_t, w_t), (m_s, w_s) = centre_and_width(t), centre_and_width(s)
    return m_s + w_s / w_t * (x - m_t)


@pytest.fixture(scope="session")
def oracles():
    """The exact denoisers above and the exact flow, by name."""
    return SimpleNamespace(flow=flow, gaussian=gaussian, correlated=correlated, mixture=mixture, atoms=atoms)
