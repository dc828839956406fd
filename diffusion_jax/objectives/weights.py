r"""Weights lambda(t) of a squared error of x0, one for each published loss: `process -> (t -> lambda)`.

An error of x0 is an error of everything else, up to a factor of the level. With r = sigma/alpha and
SNR = 1/r^2, what is minimised is lambda(t) |x0 - x0_hat|^2:

    x0           1
    eps          SNR                                 DDPM's simple loss; VP and VE of Song et al.
    v            SNR (1 + r^2)^2 alpha^2             the velocity alpha eps - sigma x0 (arXiv 2202.00512)
    slope        (alpha' - sigma' alpha/sigma)^2     dx/dt: flow matching (arXiv 2210.02747)
    edm          (sigma^2 + alpha^2 d^2)/(sigma d)^2, d = sigma_data: the error of F under EDM's
                 preconditioning (arXiv 2206.00364, table 1)
    min_snr      min(SNR, gamma)                     arXiv 2303.09556
    soft_min_snr SNR gamma/(SNR + gamma)             arXiv 2401.11605

Levels have any shape; at t = 0 most weights are infinite, and the caller takes care.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.types import Array

Weight = Callable[[Array], Array]
"""t -> lambda(t), shaped like t."""


def x0(process: Gaussian) -> Weight:
    """The error of the clean data itself."""
    del process
    return jnp.ones_like


def eps(process: Gaussian) -> Weight:
    """The error of the noise: DDPM's simple loss (arXiv 2006.11239, eq. 14), 1/sigma^2 of EDM's VP and VE."""
    return lambda t: (process.alpha(t) / process.sigma(t)) ** 2


def v(process: Gaussian) -> Weight:
    """The error of the velocity alpha eps - sigma x0: Salimans and Ho (arXiv 2202.00512)."""
    return lambda t: (process.alpha(t) ** 2 / process.sigma(t) + process.sigma(t)) ** 2


def slope(process: Gaussian) -> Weight:
    """The error of dx/dt along the path: flow matching (arXiv 2210.02747), rectified flow (2209.03003)."""

    def weight(t: Array) -> Array:
        alpha, alpha_rate = jax.jvp(process.alpha, (t,), (jnp.ones_like(t),))
        sigma, sigma_rate = jax.jvp(process.sigma, (t,), (jnp.ones_like(t),))
        return (alpha_rate - sigma_rate * alpha / sigma) ** 2

    return weight


def edm(process: Gaussian, sigma_data: float = 0.5) -> Weight:
    """EDM's lambda, 1/c_out^2: at every level an untrained network has the same loss.

    Raises ValueError unless sigma_data > 0.
    """
    if sigma_data <= 0:
        raise ValueError(f"sigma_data must be positive, got {sigma_data}")
    return lambda t: (process.alpha(t) / process.sigma(t)) ** 2 + 1 / sigma_data**2


def min_snr(process: Gaussian, gamma: float = 5.0) -> Weight:
    """min(SNR, gamma), Hang et al. (arXiv 2303.09556), whatever the network predicts.

    Raises ValueError unless gamma > 0.
    """
    _check(gamma)
    return lambda t: jnp.minimum((process.alpha(t) / process.sigma(t)) ** 2, gamma)


def soft_min_snr(process: Gaussian, gamma: float = 4.0) -> Weight:
    """SNR gamma/(SNR + gamma), Crowson et al. (arXiv 2401.11605); gamma = 1/sigma_data^2 there.

    Raises ValueError unless gamma > 0.
    """
    _check(gamma)
    return lambda t: gamma / (1 + gamma * (process.sigma(t) / process.alpha(t)) ** 2)


def _check(gamma: float) -> None:
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, got {gamma}")


EXAMPLES: dict[str, dict[str, Any]] = {
    "x0": {},
    "eps": {},
    "v": {},
    "slope": {},
    "edm": {},
    "min_snr": {},
    "soft_min_snr": {},
}
