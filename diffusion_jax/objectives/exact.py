"""The exact denoiser of a known law: an objective without parameters, the limit for the trained ones.

For data that are one of N points with equal probability, each blurred by normal noise of standard
deviation c, and a Gaussian process, Bayes' rule gives weights w_n proportional to
N(x_t; alpha p_n, alpha^2 c^2 + sigma^2) and, with k = alpha c^2/(alpha^2 c^2 + sigma^2),

    E[x0 | x_t]   = sum_n w_n m_n,   m_n = p_n + k (x_t - alpha p_n)
    Var[x0 | x_t] = sum_n w_n (m_n - E)^2 + c^2 sigma^2/(alpha^2 c^2 + sigma^2)   (entry by entry)

For bits, w_n is proportional to P(x_t | p_n). Its reverse step is the best that any factorised one can be:
for continuous data the moment-matched normal law, for bits the exact probabilities of each bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.processes.learned import learned_fields
from diffusion_jax.processes.variances import small
from diffusion_jax.types import Array, Batch, Bound, Decoder, Key, Loss, Objective, Support, Variables


def posterior_moments(support: Support, process: Any, x_t: Array, t: Any) -> tuple[Array, Array]:
    """E[x0 | x_t] and Var[x0 | x_t], entry by entry, given the levels of all tokens; both shaped like x_t.

    x_t: [B, T, ...]; t: (), [B] or [B, T].
    """
    points = jnp.asarray(support.points, x_t.dtype)
    count, t = len(points), jnp.broadcast_to(canonical(t, x_t), x_t.shape[:2])
    if isinstance(process, Gaussian):
        level = expand(t, x_t)
        alpha, sigma = process.alpha(level), process.sigma(level)
        total = jnp.maximum(alpha**2 * support.std**2 + sigma**2, jnp.finfo(x_t.dtype).tiny)
        gain = alpha * support.std**2 / total
        # Distances, means and squares as matrix products: no [B, N, ...] array of x and the points.
        flat = points.reshape(count, -1)
        linear = (alpha * x_t / total).reshape(len(x_t), -1) @ flat.T
        square = jnp.broadcast_to(alpha**2 / total, x_t.shape).reshape(len(x_t), -1) @ (flat**2).T
        weights = jax.nn.softmax(linear - 0.5 * square, axis=1)
        scale, shift, own = 1 - gain * alpha, gain * x_t, support.std**2 * sigma**2 / total
    else:
        known = jnp.broadcast_to(points[:, None], (count, *x_t.shape))
        likelihood = jax.vmap(lambda point: process.marginal(point, t).log_prob(x_t))(known)
        weights = jax.nn.softmax(likelihood.sum(tuple(range(2, likelihood.ndim))), axis=0).T
        scale, shift, own = 1.0, 0.0, 0.0
    mean = (weights @ points.reshape(count, -1)).reshape(x_t.shape)
    spread = (weights @ (points**2).reshape(count, -1)).reshape(x_t.shape) - mean**2
    return scale * mean + shift, scale**2 * jnp.maximum(spread, 0.0) + own


def exact(
    support: Support,
    process: Any,
    grid: Any,
    decoder: Callable[..., Decoder],
) -> Objective:
    """The law of `support` as an objective: no parameters, a loss of 0, and `bind` gives its exact bound.

    Gaussian reverse steps take the exact conditional variance, entry by entry (Bao et al., arXiv 2201.06503,
    eq. 7). grid, decoder: as in `elbo`. Raises ValueError for a process with learned fields, or points that
    are not [N, T, ...].
    """
    if jnp.ndim(support.points) < 3:
        raise ValueError(f"support.points must be [N, T, ...], got shape {jnp.shape(support.points)}")
    if learned_fields(process):
        raise ValueError("the exact denoiser has nothing to train: give it a fixed process")

    def denoiser(x_t: Array, t: Array) -> Array:
        return posterior_moments(support, process, x_t, t)[0]

    def reverse_variance(x_t: Array, t: Array, s: Array) -> Array:
        spread = posterior_moments(support, process, x_t, t)[1]
        later, earlier = expand(t, x_t), expand(s, x_t)
        gain = process.alpha(earlier) * process.share(later, earlier)[1]
        return small(process)(x_t, t, s) + gain**2 * spread

    def loss(variables: Variables, key: Key, batch: Batch) -> Loss:
        del variables, key
        nothing = jnp.zeros(batch["x"].shape[:2], batch["x"].dtype)
        return Loss(nothing, nothing + 1, {})

    def bind(variables: Variables, key: Key, batch: Batch) -> Bound:
        del variables, key, batch
        times = jnp.asarray(grid(process) if callable(grid) else grid)
        variance = reverse_variance if isinstance(process, Gaussian) else None
        return Bound(process, denoiser, variance, decoder(process, times), None, times)

    return Objective(lambda key, batch: Variables({}), loss, bind)


EXAMPLES: dict[str, dict[str, Any]] = {
    "exact": {
        "support": {"name": "swiss_roll_curve", "points": 64},
        "process": "vp_2015",
        "grid": {"name": "linear_grid", "steps": 8},
        "decoder": "fixed_kernel",
    },
}
