r"""Third-order multistep DPM-Solver++ (arXiv 2211.01095, section 4), for any alpha and sigma.

x0_hat is the parabola through the last three estimates, in log(alpha/sigma), and the integral of

    x_s = sigma_s/sigma_t x_t + alpha_s int_0^h e^(u - h) x0_hat(u) du

is exact (see `multistep`). Written with derivatives, x0_hat + u D1/h + u^2/2 D2/h^2, the second one is
D2 = 2 (D1_0 - D1_1)/(r0 + r1), where D1_0 and D1_1 are the last two differences and r0, r1 the last two
steps, all relative to h. Implementations that leave out the 2 are of second order.
"""

from __future__ import annotations

from typing import Any

from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.multistep import History, exponential, later, remembering
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Denoiser, Key, Sampler


def dpmpp_3m(process: Gaussian) -> Sampler:
    """Third order, deterministic, one evaluation a step; every Gaussian process, alpha(1) = 0 included.

    A token's first two steps are of first and second order; one that ends at sigma = 0 or starts at alpha = 0
    is `ddim`'s.

    Raises TypeError where the process is not Gaussian.
    """
    require_gaussian(process, "dpmpp_3m")

    def step(key: Key, denoiser: Denoiser, state: History, t: Array, s: Array) -> History:
        x0_hat = denoiser(state.x, t)
        x = exponential(process, state.x, t, s, state.levels, (x0_hat, *state.values))
        return later(state, x, t, x0_hat)

    return Sampler(remembering(2), step)


EXAMPLES: dict[str, dict[str, Any]] = {"dpmpp_3m": {"process": "vp_cosine"}}
