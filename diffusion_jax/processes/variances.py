"""Variances of Gaussian reverse steps p(x_s | x_t) = N(mean, variance).

A variance is made for a process, `small(process)`, and is a function
`(x_t, t, s, raw=None) -> variance` that broadcasts against x_t; `raw`, shaped like x_t, is what the
network says about it, None for the fixed ones. With q = ratio(s)/ratio(t), the two fixed ones are

    small   sigma_s^2 (1 - q^2)     beta-tilde: the posterior's own, right for data that are one point
    large   sigma_t^2 (1 - q^2)     beta: the forward kernel's, right for normal data of unit variance

DDPM (arXiv 2006.11239), section 3.2; entropy bounds: Sohl-Dickstein et al. 2015 (arXiv 1503.03585), eq. 24.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.types import Array

Variance = Callable[..., Array]


def small(process: Gaussian) -> Variance:
    """beta-tilde, the posterior's variance sigma_s^2 (1 - q^2)."""

    def variance(x_t: Array, t: Any, s: Any, raw: Array | None = None) -> Array:
        del raw
        t, s = expand(t, x_t), expand(s, x_t)
        return process.sigma(s) ** 2 * process.share(t, s)[1]

    return variance


def large(process: Gaussian) -> Variance:
    """beta, the forward kernel's variance sigma_t^2 (1 - q^2)."""

    def variance(x_t: Array, t: Any, s: Any, raw: Array | None = None) -> Array:
        del raw
        t, s = expand(t, x_t), expand(s, x_t)
        return process.sigma(t) ** 2 * process.share(t, s)[1]

    return variance


def _raw(raw: Array | None, name: str) -> Array:
    if raw is None:
        raise ValueError(
            f"variance {name!r} is learned: the network must have outputs=2 (mean and variance parts)"
        )
    return raw


def learned(process: Gaussian) -> Variance:
    """exp(v log large + (1 - v) log small) with v = (raw + 1)/2, entry by entry.

    Improved DDPM (arXiv 2102.09672), eq. 15. At s = 0, where small is 0, large is used for both ends.
    Raises ValueError where the network gives no variance part.
    """

    def variance(x_t: Array, t: Any, s: Any, raw: Array | None = None) -> Array:
        fraction = 0.5 * (_raw(raw, "learned") + 1)
        t, s = expand(t, x_t), expand(s, x_t)
        moved = process.share(t, s)[1]
        sigma_t, sigma_s = process.sigma(t), process.sigma(s)
        sigma_s = jnp.where(sigma_s > 0, sigma_s, sigma_t)
        log_ratio = 2 * jnp.log(jnp.where(sigma_t > 0, sigma_s / jnp.where(sigma_t > 0, sigma_t, 1.0), 1.0))
        return moved * sigma_t**2 * jnp.exp((1 - fraction) * log_ratio)

    return variance


def spread(process: Gaussian) -> Variance:
    """small + (d mean / d x0)^2 Var(x0 | x_t), the network giving the conditional variance of the clean data.

    The exact moment-matched variance (Bao et al., arXiv 2201.06503, eq. 7) at any pair of levels, hence
    one read-out for all grids. Var(x0 | x_t) = softplus(raw) r^2/(1 + r^2), r = sigma_t/alpha_t, whose
    factor is its value for normal data of unit variance at softplus(raw) = 1. Raises ValueError where
    the network gives no variance part.
    """
    posterior = small(process)

    def variance(x_t: Array, t: Any, s: Any, raw: Array | None = None) -> Array:
        data = jax.nn.softplus(_raw(raw, "spread"))
        t, s = expand(t, x_t), expand(s, x_t)
        alpha, sigma = process.alpha(t), process.sigma(t)
        gain = process.alpha(s) * process.share(t, s)[1]
        return posterior(x_t, t, s) + gain**2 * data * sigma**2 / (alpha**2 + sigma**2)

    return variance


EXAMPLES: dict[str, dict[str, Any]] = {"small": {}, "large": {}, "learned": {}, "spread": {}}
