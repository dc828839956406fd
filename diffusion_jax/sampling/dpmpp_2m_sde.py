r"""SDE-DPM-Solver++(2M) of "DPM-Solver++" (arXiv 2211.01095), for any alpha and sigma, with a share eta.

    x_s = sigma_s/sigma_t e^(-eta h) x_t + alpha_s (1 - e^(-(1 + eta) h)) (x0_hat + (x0_hat - before)/(2 r))
          + sigma_s sqrt(1 - e^(-2 eta h)) N(0, I),

with h, r and `before` as in `dpmpp_2m`, which is eta = 0; eta = 1 is the paper's, the reverse SDE of the
forward process. Every eta has the same marginals in the limit of small steps.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from diffusion_jax.levels import expand, normal
from diffusion_jax.processes.gaussian import Gaussian, quotient, safe_sqrt
from diffusion_jax.sampling.multistep import History, integral, later, log_nodes, log_step, remembering
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler


def dpmpp_2m_sde(process: Gaussian, eta: float = 1.0, draw: Draw = normal) -> Sampler:
    """Stochastic, one evaluation a step; every Gaussian process, alpha(1) = 0 included.

    Args:
        process: a Gaussian process.
        eta: the variance rate of the noise, relative to the reverse SDE's.
        draw: (key, x) -> standard normal noise like x.

    Raises TypeError where the process is not Gaussian, ValueError where eta is negative.
    """
    require_gaussian(process, "dpmpp_2m_sde")
    if eta < 0:
        raise ValueError(f"eta must not be negative, got {eta}")

    def step(key: Key, denoiser: Denoiser, state: History, t: Array, s: Array) -> History:
        x0_hat = denoiser(state.x, t)
        h, finite = log_step(process, t, s)
        left = jnp.where(finite, jnp.exp(-eta * h), float(eta == 0))
        taken = 1 - left * process.share(t, s)[0]
        nodes, present = log_nodes(process, t, state.levels)
        estimate = integral((x0_hat, *state.values), nodes, present, (taken, h / 2 * taken))
        sigma = process.sigma(s)
        kept = quotient(sigma, process.sigma(t), 1.0) * left
        fresh = sigma * safe_sqrt((1 - left) * (1 + left))
        x = expand(kept, state.x) * state.x + expand(process.alpha(s), state.x) * estimate
        return later(state, x + expand(fresh, x) * draw(key, x), t, x0_hat)

    return Sampler(remembering(1), step)


EXAMPLES: dict[str, dict[str, Any]] = {"dpmpp_2m_sde": {"process": "vp_cosine"}}
