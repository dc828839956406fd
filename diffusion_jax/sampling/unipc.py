r"""UniPC: "A unified predictor-corrector framework" (arXiv 2302.04867), algorithms 1 and 2, multistep.

UniPC-p predicts x_s from the polynomial through x0_hat at the last p levels (UniP-p, order p), evaluates the
denoiser there once, and corrects x_s by the polynomial through that value too (UniC-p, order p + 1). The
value itself is kept: the next step predicts with it, so that the corrector costs nothing and the whole is of
order p + 1. Both polynomials are in log(alpha/sigma), under the integral of `multistep`.

The paper's weights, B(h) times R^-1 phi(h)/B(h), are those of the polynomial whatever B is. B matters where
there is but one difference, whose weight the paper sets to B(h)/2: UniP-2, UniC-1, and steps that start up.

The evaluation at level s belongs to the next step, so the state holds x as predicted; it is corrected where
that step begins. As in the paper, the last sample is not corrected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.multistep import by_exponential, exponential, latest, remembering
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Denoiser, Key, Sampler


class State(NamedTuple):
    """`multistep.History`, and the corrected sample `before` at levels[0]: [B, T, ...]."""

    x: Array
    before: Array
    levels: tuple[Array, ...]
    values: tuple[Array, ...]


def unipc(process: Gaussian, order: int = 2, b: Callable[[Array], Array] = by_exponential) -> Sampler:
    """UniPC-p, of order p + 1: deterministic, one evaluation a step; every Gaussian process.

    A step that ends at sigma = 0 or starts at alpha = 0 is `ddim`'s, uncorrected; the first steps of a token
    have as high an order as its history allows.

    Args:
        process: a Gaussian process.
        order: p, from 1 to 3.
        b: B(h); `multistep.by_exponential` is the paper's B2, `multistep.by_distance` its B1.

    Raises TypeError where the process is not Gaussian, ValueError for other orders.
    """
    require_gaussian(process, "unipc")
    if order not in (1, 2, 3):
        raise ValueError(f"order, that of the predictor, must be 1, 2 or 3; got {order!r}")

    def init(x: Array, t: Array) -> State:
        start = remembering(order)(x, t)
        return State(x, x, start.levels, start.values)

    def step(key: Key, denoiser: Denoiser, state: State, t: Array, s: Array) -> State:
        t = jnp.broadcast_to(t, state.x.shape[:2])
        x0_hat = denoiser(state.x, t)
        (last, *levels), (value, *values) = state.levels, state.values
        last = jnp.where(last <= 1, last, t)
        corrected = exponential(
            process, state.before, last, t, (t, *levels), (value, x0_hat, *values), half=b
        )
        kept = order - 1
        predicted = exponential(
            process, corrected, t, s, state.levels[:kept], (x0_hat, *state.values[:kept]), half=b
        )
        return State(predicted, corrected, latest(t, state.levels), latest(x0_hat, state.values))

    return Sampler(init, step)


EXAMPLES: dict[str, dict[str, Any]] = {"unipc": {"process": "vp_cosine"}}
