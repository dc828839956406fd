r"""Restart: Heun's method downwards, the forward process upwards (arXiv 2306.14878, algorithm 1).

On a grid that rises, such as `restart_grid` makes, a step from t up to s > t draws from the exact forward
kernel

    q(x_s | x_t) = N(alpha_s/alpha_t x_t, sigma_s^2 (1 - q^2) I),      q = ratio(t)/ratio(s),

and costs no evaluation. Falling from there again by the ODE, samples forget errors made above, as those of an
SDE do, at the accuracy of an ODE.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import expand, normal
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.memoryless import State, memoryless
from diffusion_jax.sampling.ode import require_flow
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler


def restart(process: Gaussian, noise: float = 1.0, draw: Draw = normal) -> Sampler:
    """`heun` where levels fall, the forward process where they rise; tokens may do both in one step.

    Args:
        process: a Gaussian process.
        noise: factor on the standard deviation of the noise that rising adds (S_noise; the paper takes 1.003
            on ImageNet-64).
        draw: (key, x) -> standard normal noise like x.

    Raises TypeError where the process is not Gaussian, ValueError where alpha'(1) or sigma'(1) is infinite.
    """
    require_flow(process, "restart")
    descent = heun(process)

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        def fallen() -> Array:
            return descent.step(key, denoiser, State(x), t, jnp.minimum(s, t)).x

        lower = jax.lax.cond((s < t).any(), fallen, lambda: x)
        law = process.transition(x, t, jnp.maximum(s, t))
        higher = law.mean + noise * law.std * draw(key, x)
        return jnp.where(expand(s > t, x), higher, lower)

    return memoryless(step)._replace(rises=True)


EXAMPLES: dict[str, dict[str, Any]] = {"restart": {"process": "edm"}}
