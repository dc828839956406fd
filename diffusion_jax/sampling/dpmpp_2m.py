r"""DPM-Solver++(2M): algorithm 2 of "DPM-Solver++" (arXiv 2211.01095), for any alpha and sigma.

    x_s = sigma_s/sigma_t x_t + alpha_s (1 - e^-h) (x0_hat + (x0_hat - before)/(2 r)),

h being the step in log(alpha/sigma), r the one before it divided by h, and `before` the estimate made there.
"""

from __future__ import annotations

from typing import Any

from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.multistep import History, by_exponential, exponential, later, remembering
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Denoiser, Key, Sampler


def dpmpp_2m(process: Gaussian) -> Sampler:
    """Second order, deterministic, one evaluation a step; every Gaussian process, alpha(1) = 0 included.

    A token's first step is `ddim`'s, and so is one that ends at sigma = 0 or starts at alpha = 0.

    Raises TypeError where the process is not Gaussian.
    """
    require_gaussian(process, "dpmpp_2m")

    def step(key: Key, denoiser: Denoiser, state: History, t: Array, s: Array) -> History:
        x0_hat = denoiser(state.x, t)
        values = (x0_hat, *state.values)
        x = exponential(process, state.x, t, s, state.levels, values, half=by_exponential)
        return later(state, x, t, x0_hat)

    return Sampler(remembering(1), step)


EXAMPLES: dict[str, dict[str, Any]] = {"dpmpp_2m": {"process": "vp_cosine"}}
