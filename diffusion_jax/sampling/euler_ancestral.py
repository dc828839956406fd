r"""Euler's method with fresh noise: k-diffusion's "Euler ancestral", in any process's own level t.

A step from t to s goes past s, to a level d <= s, and noise carries it back up. With ratios r = sigma/alpha,

    up^2 = eta^2 r_s^2 (1 - r_s^2/r_t^2),     r_d^2 = r_s^2 - up^2,
    x_d = x_t + (d - t) dx/dt,                x_s = alpha_s/alpha_d x_d + alpha_s up N(0, I).

At eta = 1 alpha_s up is the standard deviation of the posterior q(x_s | x_t, x_0) (DDPM, arXiv 2006.11239,
equation 7); eta = 0 is `euler`. Where alpha is constant and sigma proportional to t (`edm`), Euler's step is
`ddim`'s and the whole is `ddim` with the same eta.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from diffusion_jax.levels import expand, normal
from diffusion_jax.processes.gaussian import Gaussian, quotient, safe_sqrt
from diffusion_jax.sampling.memoryless import memoryless
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler


def euler_ancestral(process: Gaussian, eta: float = 1.0, draw: Draw = normal) -> Sampler:
    """Stochastic, first order, one evaluation a step.

    Args:
        process: a Gaussian process.
        eta: share of the posterior's standard deviation that is drawn afresh, in [0, 1].
        draw: (key, x) -> standard normal noise like x.

    Raises:
        TypeError: the process is not Gaussian.
        ValueError: alpha'(1) or sigma'(1) is infinite, or eta lies outside [0, 1].
    """
    require_flow(process, "euler_ancestral")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        fresh = eta**2 * process.share(t, s)[1]
        noisy = fresh > 0
        # where nothing moves the ratio may be infinite
        ratio = process.ratio(jnp.where(noisy, s, 0.0))
        down = jnp.where(noisy, jnp.minimum(process.time(ratio * safe_sqrt(1 - fresh)), s), s)
        alpha_s = process.alpha(s)
        x = x + expand(down - t, x) * drift(process, x, denoiser(x, t), t)
        growth = quotient(alpha_s, process.alpha(down), 1.0)
        added = alpha_s * ratio * safe_sqrt(fresh)
        return expand(growth, x) * x + expand(added, x) * draw(key, x)

    return memoryless(step)


EXAMPLES: dict[str, dict[str, Any]] = {"euler_ancestral": {"process": "edm"}}
