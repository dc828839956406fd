r"""One denoiser under another process.

A Gaussian process sees data at a signal-to-noise ratio and at a scale. Two processes at the same ratio
sigma/alpha differ by the scale alone, so a denoiser trained under one is exact under every other:

    x0_hat_target(x, t) = x0_hat_source(c x, t'),   ratio_source(t') = ratio_target(t),

with c = alpha_source(t')/alpha_target(t).

EDM (arXiv 2206.00364), section 2, does this for the networks of earlier work.
"""

from __future__ import annotations

import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Denoiser


def under(denoiser: Denoiser, source: Gaussian, target: Gaussian) -> Denoiser:
    """The denoiser of the process `source` as a denoiser of the process `target`.

    Levels noisier than the source knows are shown to it at its own level 1, scaled to the noise it expects
    there.

    Raises TypeError where either process is not Gaussian.
    """
    require_gaussian(source, "under")
    require_gaussian(target, "under")

    def denoise(x: Array, t: Array) -> Array:
        t = canonical(t, x)
        alpha, sigma = target.alpha(t), target.sigma(t)
        # past any process's end, and its square is finite in float32
        known = jnp.clip(source.time(jnp.minimum(target.ratio(t), 1e15)), 0.0, 1.0)
        # the larger of the two is never zero
        by_sigma = sigma > alpha
        scale = jnp.where(by_sigma, source.sigma(known), source.alpha(known)) / jnp.where(
            by_sigma, sigma, alpha
        )
        return denoiser(expand(scale, x) * x, known)

    return denoise
