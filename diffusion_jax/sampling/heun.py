r"""Heun's method on the probability-flow ODE, with optional churn: algorithm 2 of EDM (arXiv 2206.00364).

With h = s - t and d(x, t) the drift, a step takes x from t to s by

    d_1 = d(x, t),   d_2 = d(x + a h d_1, t + a h),   x_s = x + h ((1 - 1/(2a)) d_1 + 1/(2a) d_2),

which is of second order for every `place` a in (0, 1] (algorithm 3, where a is called alpha): 1 is Heun's
method, 2/3 Ralston's, 1/2 the midpoint rule.

Churn raises the ratio r = sigma/alpha of a token to r' = (1 + gamma) r before the step,

    x' = alpha(t')/alpha(t) x + alpha(t') sqrt(r'^2 - r^2) * noise * N(0, I),

wherever low <= r <= high, and so corrects errors made on the way. With S_churn and N steps, EDM's gamma is
min(S_churn / N, sqrt(2) - 1), which is the argument `churn`; `noise`, `low`, `high` are S_noise, S_min and
S_max.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.levels import expand, normal
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.memoryless import memoryless
from diffusion_jax.sampling.ode import drift, require_flow
from diffusion_jax.types import Array, Denoiser, Draw, Key, Sampler


def heun(
    process: Gaussian,
    churn: float = 0.0,
    noise: float = 1.0,
    low: float = 0.0,
    high: float = math.inf,
    place: float = 1.0,
    draw: Draw = normal,
) -> Sampler:
    """Second order, two evaluations a step and one in a step that ends at 0: 2N - 1 for N steps.

    Args:
        process: a Gaussian process.
        churn: gamma of a step, by which the ratio grows before it; 0 is deterministic.
        noise: factor on the standard deviation of the noise that churn adds.
        low, high: ratios sigma/alpha between which churn acts.
        place: where in the step the second evaluation lies, in (0, 1]; see above.
        draw: (key, x) -> standard normal noise like x.

    Raises:
        TypeError: the process is not Gaussian.
        ValueError: alpha'(1) or sigma'(1) is infinite, churn is negative, or place is outside (0, 1].
    """
    require_flow(process, "heun")
    if churn < 0:
        raise ValueError(f"churn must not be negative, got {churn}")
    if not 0 < place <= 1:
        raise ValueError(f"place must lie in (0, 1], got {place}")

    def churned(key: Key, x: Array, t: Array, s: Array) -> tuple[Array, Array]:
        alpha, ratio = process.alpha(t), process.ratio(t)
        acts = (s < t) & (alpha > 0) & (ratio >= low) & (ratio <= high)
        raised = process.time(jnp.where(acts, (1 + churn) * ratio, 1.0))
        raised = jnp.where(acts, jnp.maximum(raised, t), t)
        growth = process.alpha(raised) / jnp.where(acts, alpha, 1.0)
        added = process.sigma(raised) ** 2 - (growth * process.sigma(t)) ** 2
        std = noise * jnp.sqrt(jnp.where(acts, jnp.maximum(added, 0.0), 0.0))
        moved = expand(growth, x) * x + expand(std, x) * draw(key, x)
        return jnp.where(expand(acts, x), moved, x), raised

    def step(key: Key, denoiser: Denoiser, x: Array, t: Array, s: Array) -> Array:
        if churn > 0:
            x, t = churned(key, x, t, s)
        h = expand(s - t, x)
        first = drift(process, x, denoiser(x, t), t)
        predicted = x + h * first
        corrects = (s > 0) & (s < t)

        def corrected() -> Array:
            there, level = x + place * h * first, (1 - place) * t + place * s
            second = drift(process, there, denoiser(there, level), level)
            slope = first + (second - first) / (2 * place)
            return jnp.where(expand(corrects, x), x + h * slope, predicted)

        return jax.lax.cond(corrects.any(), corrected, lambda: predicted)

    return memoryless(step)


EXAMPLES: dict[str, dict[str, Any]] = {"heun": {"process": "edm"}}
