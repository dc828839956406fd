r"""The probability-flow ODE by an adaptive solver: each step of the grid to a tolerance, not by one formula.

All tokens move together along u, falling from 1 to 0, with t(u) = s + u (t - s) and

    dx/du = (t - s) f(x, t(u)),

f the drift of `sampling.ode`. The solver is Tsitouras' 5(4) pair with step-size control, from diffrax; Song
et al. (arXiv 2011.13456, section 4.3) use Dormand and Prince's pair of the same orders. Near level 0 the
drift may be infinite: a step to 0 goes to the level where sigma/alpha is `sigma_min` and ends with x0_hat
there.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import expand
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.memoryless import memoryless
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Key, Sampler


def adaptive(
    process: Gaussian,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    sigma_min: float = 0.002,
    max_steps: int = 4096,
) -> Sampler:
    """Deterministic, as many evaluations as the tolerances need: `linear_grid(1)` is one solve from 1 to 0.

    Step sizes are chosen for the whole batch, so that a sample depends on what is drawn beside it, by as
    much as the tolerances allow.

    Args:
        process: a Gaussian process.
        rtol, atol: of the root mean square error of a solver's step over the batch, in units of x.
        sigma_min: the ratio sigma/alpha at which a step to 0 stops, to end with x0_hat.
        max_steps: of the solver within a step of the grid; where it needs more, the result is an error.

    Raises:
        TypeError: the process is not Gaussian.
        ValueError: alpha'(1) or sigma'(1) is infinite, or a tolerance or sigma_min is not positive.
    """
    import diffrax

    require_flow(process, "adaptive")
    for name, value in (("rtol", rtol), ("atol", atol), ("sigma_min", sigma_min)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        last = jnp.where(s > 0, s, jnp.minimum(t, process.time(jnp.full_like(s, sigma_min))))

        def field(u: Any, y: Array, args: Any) -> Array:
            level = last + jnp.asarray(u, t.dtype) * (t - last)
            return expand(t - last, y) * drift(process, y, denoiser(y, level), level)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=1.0,
            t1=0.0,
            dt0=None,
            y0=x.astype(jnp.promote_types(x.dtype, jnp.float32)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=max_steps,
        )
        assert solution.ys is not None
        end = solution.ys[-1]
        ends = expand(s == 0, end)
        return jax.lax.cond(ends.any(), lambda: jnp.where(ends, denoiser(end, last), end), lambda: end)

    return memoryless(step)


EXAMPLES: dict[str, dict[str, Any]] = {"adaptive": {"process": "edm"}}
