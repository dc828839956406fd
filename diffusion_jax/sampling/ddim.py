r"""DDIM: equation 12 of "Denoising diffusion implicit models" (arXiv 2010.02502), for any alpha and sigma.

    x_s = alpha_s x0_hat + sqrt(sigma_s^2 - v) eps_hat + sqrt(v) N(0, I),     v = eta^2 sigma_s^2 (1 - q^2),

with eps_hat = (x_t - alpha_t x0_hat) / sigma_t and q = (sigma_s/alpha_s) / (sigma_t/alpha_t). eta = 0 is
deterministic (an exponential integrator of first order), eta = 1 is `ancestral` with the small variance.
"""

from __future__ import annotations

from typing import Any

from diffusion_jax.levels import expand, normal
from diffusion_jax.processes.gaussian import Gaussian, quotient, safe_sqrt
from diffusion_jax.sampling.memoryless import memoryless
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler


def ddim(process: Gaussian, eta: float = 0.0, draw: Draw = normal) -> Sampler:
    """First order, one evaluation a step; works for every Gaussian process, alpha(1) = 0 included.

    Args:
        process: a Gaussian process.
        eta: share of the posterior's standard deviation that is drawn afresh, in [0, 1].
        draw: (key, x) -> standard normal noise like x.

    Raises TypeError where the process is not Gaussian, ValueError where eta lies outside [0, 1].
    """
    require_gaussian(process, "ddim")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        x0_hat = denoiser(x, t)
        eps_hat = quotient(x - expand(process.alpha(t), x) * x0_hat, expand(process.sigma(t), x), 0.0)
        mean, sigma = expand(process.alpha(s), x) * x0_hat, expand(process.sigma(s), x)
        if eta == 0:
            return mean + sigma * eps_hat
        fresh = eta**2 * expand(process.share(t, s)[1], x)
        return mean + sigma * (safe_sqrt(1 - fresh) * eps_hat + safe_sqrt(fresh) * draw(key, x))

    return memoryless(step)


EXAMPLES: dict[str, dict[str, Any]] = {"ddim": {"process": "vp_cosine"}}
