r"""The probability-flow ODE of a Gaussian process, in the process's own level t.

With x = alpha x0 + sigma eps, the curve that carries the marginals along is

    dx/dt = alpha'(t) x0_hat + sigma'(t) eps_hat,      eps_hat = (x - alpha x0_hat) / sigma,

that is, equation 4 of EDM (arXiv 2206.00364, with scaling s = alpha and ratio sigma/alpha) written without
dividing by alpha: it stays regular at t = 1 of a process with alpha(1) = 0. Integrating over t makes the
process the schedule and the scaling, and the grid the discretisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import Gaussian, at_once
from diffusion_jax.types import Array


def drift(process: Gaussian, x: Array, x0_hat: Array, t: Array) -> Array:
    """dx/dt of the probability-flow ODE, shaped like x [B, T, ...]; t [#B, #T]. Zero where t == 0.

    Those tokens are clean: sigma' may be infinite there (variance-preserving processes), and nothing moves.
    """
    moving = t > 0
    t = jnp.where(moving, t, 0.5)
    alpha, alpha_rate = _with_rate(process.alpha, t)
    sigma, sigma_rate = _with_rate(process.sigma, t)
    eps_hat = (x - expand(alpha, x) * x0_hat) / expand(sigma, x)
    rate = expand(alpha_rate, x) * x0_hat + expand(sigma_rate, x) * eps_hat
    return jnp.where(expand(moving, x), rate, 0.0)


def require_gaussian(process: Any, name: str) -> None:
    """Raises TypeError unless the process is Gaussian; `name` is who asks."""
    if not isinstance(process, Gaussian):
        raise TypeError(
            f"{name} needs a Gaussian process, such as vp_cosine(); got {process!r}. "
            "For bits and categories there is `ancestral`."
        )


def require_flow(process: Any, name: str) -> None:
    """Raises unless the process is Gaussian (TypeError) with finite alpha'(1) and sigma'(1) (ValueError).

    A traced process (learned, inside jit) is not checked for the second.
    """
    require_gaussian(process, name)
    with at_once():
        # a root behaves as (1 - t)^(1/2): its slope grows eightfold from the first point to the second
        _, rates = _with_rate(process.alpha, jnp.array([1 - 2**-10, 1 - 2**-16]))
        _, noise_rates = _with_rate(process.sigma, jnp.array([1 - 2**-10, 1 - 2**-16]))
        steep = (abs(rates[1]) > 4 * abs(rates[0])) | (abs(noise_rates[1]) > 4 * abs(noise_rates[0]))
    if not isinstance(steep, Tracer) and steep:
        raise ValueError(
            f"{name} integrates over t and needs finite alpha'(1) and sigma'(1), which {process!r} does not "
            "have; use ddim or ancestral"
        )


def _with_rate(f: Callable[[Array], Array], t: Array) -> tuple[Array, Array]:
    return jax.jvp(f, (t,), (jnp.ones_like(t),))
