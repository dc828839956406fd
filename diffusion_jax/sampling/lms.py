r"""Linear multistep: Adams-Bashforth with variable steps, on the probability-flow ODE in the process's own t.

    x_s = x_t + int_t^s P(tau) d tau,

P being the polynomial through the last slopes dx/dt (Hairer, Norsett, Wanner, "Solving ordinary differential
equations I", section III.5). For `edm`, whose level is proportional to sigma, the integral is over sigma, as
in k-diffusion's "lms". Like `euler`, which is order 1, it takes schedule and scaling from the process and the
discretisation from the grid. A step that ends at 0 is Euler's.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.multistep import History, integral, later, remembering
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Key, Sampler


def lms(process: Gaussian, order: int = 4) -> Sampler:
    """Order 1 to 4, deterministic, one evaluation a step. The first steps of a token have orders 1, 2, 3.

    Raises:
        TypeError: the process is not Gaussian.
        ValueError: alpha'(1) or sigma'(1) is infinite, or order is not 1, 2, 3 or 4.
    """
    require_flow(process, "lms")
    if order not in (1, 2, 3, 4):
        raise ValueError(f"order must be 1, 2, 3 or 4; got {order!r}")

    def step(key: Key, denoiser: Denoiser, state: History, t: Array, s: Array) -> History:
        slope = drift(process, state.x, denoiser(state.x, t), t)
        present = [jnp.ones_like(t, bool), *(level <= 1 for level in state.levels)]
        nodes = [jnp.zeros_like(t), *(jnp.where(level <= 1, level - t, 0.0) for level in state.levels)]
        h = s - t
        moments = [h, *(jnp.where(s > 0, h**k / k, 0.0) for k in range(2, order + 1))]
        x = state.x + integral((slope, *state.values), nodes, present, moments)
        return later(state, x, t, slope)

    return Sampler(remembering(order - 1), step)


EXAMPLES: dict[str, dict[str, Any]] = {"lms": {"process": "edm"}}
