"""Likelihood by the probability-flow ODE (Song et al., arXiv 2011.13456, section 4.3 and appendix D.2).

The ODE dx/dt = f(x, t) of `sampling.ode` carries the law of the data at level `start` to that at
level 1, where it is the prior's, so that

    log p(x at start) = log prior(x at 1) + integral from start to 1 of div f dt.

The divergence is the trace of df/dx: exact by one derivative for each entry, or Hutchinson's estimate
E_v v^T (df/dx) v with Rademacher probes v. The integral is diffrax's adaptive Tsitouras 5(4). The data
are taken to be at level `start` as they are: grey values must have been dequantised, else the density
has no finite limit as start falls.
"""

from __future__ import annotations

from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from diffusion_jax.levels import token_sum
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Key

EXACT_UP_TO = 8


def log_likelihood(
    key: Key,
    process: Any,
    denoiser: Denoiser,
    x: Array,
    *,
    start: float = 1e-5,
    probes: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 4096,
) -> Array:
    """log-density of x [B, T, ...] in nats, an entry for each token: [B, T]; an example's is the sum over T.

    Args:
        key: of the probes.
        process: Gaussian, with finite alpha'(1) and sigma'(1).
        denoiser: (x_t, t) -> x0_hat.
        start: the level that the data are taken to be at.
        probes: Rademacher vectors of Hutchinson's estimate; None for the exact trace.
        rtol, atol: of the adaptive solver, over the whole batch.
        max_steps: of the solver; where it needs more, the result is an error.

    Raises:
        ValueError: the process has no regular ODE, start is not in (0, 1), probes is below 1, or the exact
            trace is asked for in more than EXACT_UP_TO squared dimensions.
    """
    require_flow(process, "the likelihood")
    if not 0 < start < 1:
        raise ValueError(f"start must lie in (0, 1), got {start}")
    if probes is not None and probes < 1:
        raise ValueError(f"probes must be at least 1, or None for the exact trace; got {probes}")
    if probes is None and x[0].size > EXACT_UP_TO**2:
        raise ValueError(
            f"an exact trace in {x[0].size} dimensions is too slow: set probes, a number of estimates"
        )
    directions = _directions(key, x, probes)

    def flow(x: Array, t: Array) -> Array:
        level = t.reshape((1, 1))
        return drift(process, x, denoiser(x, t), level)

    def field(t: Any, state: tuple[Array, Array], args: Any) -> tuple[Array, Array]:
        del args
        t = jnp.asarray(t, x.dtype)

        def along(v: Array) -> tuple[Array, Array]:
            value, change = jax.jvp(lambda y: flow(y, t), (state[0],), (v,))
            return value, token_sum(change * v)

        value, traces = jax.vmap(along, out_axes=(None, 0))(directions)
        scale = 1 if probes is None else probes
        return value, traces.sum(0) / scale

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        t0=start,
        t1=1.0,
        dt0=None,
        y0=(x, jnp.zeros(x.shape[:2], x.dtype)),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
    )
    assert solution.ys is not None
    end, divergence = solution.ys[0][-1], solution.ys[1][-1]
    return token_sum(process.prior(x.shape).log_prob(end)) + divergence


def _directions(key: Key, x: Array, probes: int | None) -> Array:
    """[entries or probes, B, T, ...]: the unit vectors of an example's entries, or random signs."""
    if probes is not None:
        return jax.random.rademacher(key, (probes, *x.shape), x.dtype)
    unit = jnp.eye(x[0].size, dtype=x.dtype).reshape(x[0].size, 1, *x.shape[1:])
    return jnp.broadcast_to(unit, (x[0].size, *x.shape))
