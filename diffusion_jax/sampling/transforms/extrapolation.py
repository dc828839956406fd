r"""Guidance by extrapolation: away from a weak denoiser, through a strong one and beyond.

    D = D_weak + w (D_strong - D_weak)

w = 1 is the strong denoiser alone, w = 0 the weak one. This is the convention of EDM2 and of the interval's
paper; Ho and Salimans write w - 1 for it.

`cfg`           strong is conditional, weak is not: "Classifier-free diffusion guidance" (arXiv 2207.12598).
                With exact denoisers D is the score of p(x_t) p(y | x_t)^w, level by level, which for w != 1
                is no noised distribution: a chain through these scores samples no law in closed form.
`autoguidance`  weak is a smaller or less trained version of strong, both with the same condition: "Guiding a
                diffusion model with a bad version of itself" (arXiv 2406.02507).

Interval (arXiv 2404.07724): only tokens with low <= sigma/alpha <= high are guided, all others see the strong
denoiser alone. Where no token is guided the weak denoiser is not evaluated.

Bits and categories: probabilities are extrapolated in log-odds and in log-probabilities, so that they stay
probabilities:

    logit D = logit D_weak + w (logit D_strong - logit D_weak)
    D       = softmax(log D_weak + w (log D_strong - log D_weak))
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.laws import Bernoulli, Categorical, safe_log
from diffusion_jax.levels import canonical, expand
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.sampling.transforms.checks import require_callable, require_scale, shaped
from diffusion_jax.types import Array, Denoiser


def cfg(
    process: Any,
    conditional: Denoiser,
    unconditional: Denoiser,
    scale: Array | float,
    low: float = 0.0,
    high: float = math.inf,
) -> Denoiser:
    """Classifier-free guidance.

    Args:
        process: any process; it tells sigma/alpha, and whether the denoisers give probabilities.
        conditional: the denoiser with the condition closed over.
        unconditional: the denoiser without (label -1), of the same or of another network.
        scale: w >= 0, of shape (), [B] or [B, T]; 1 is the conditional denoiser alone.
        low, high: the interval of sigma/alpha that is guided (Gaussian processes).

    Raises TypeError for a denoiser that cannot be called; ValueError for a negative scale, unless
    0 <= low <= high, for an interval where the process has no sigma/alpha, and, when called, for outputs that
    are not shaped like x.
    """
    return _away("cfg", process, conditional, unconditional, scale, low, high)


def autoguidance(
    process: Any,
    denoiser: Denoiser,
    guide: Denoiser,
    scale: Array | float,
    low: float = 0.0,
    high: float = math.inf,
) -> Denoiser:
    """Guidance by an inferior version of the denoiser itself; arguments and errors as of `cfg`.

    The published scales lie between 1.7 and 2.9, with a guide that is smaller and has been trained less.
    """
    return _away("autoguidance", process, denoiser, guide, scale, low, high)


def _away(
    name: str,
    process: Any,
    strong: Denoiser,
    weak: Denoiser,
    scale: Array | float,
    low: float,
    high: float,
) -> Denoiser:
    require_callable(name, strong=strong, weak=weak)
    require_scale(name, scale)
    if not 0 <= low <= high:
        raise ValueError(f"{name}: the interval of sigma/alpha needs 0 <= low <= high, got [{low}, {high}]")
    if not isinstance(process, Gaussian) and (low > 0 or high < math.inf):
        raise ValueError(f"{name}: an interval is of sigma/alpha, which {process!r} does not have")

    def guided(t: Array) -> Array:
        noisy = t > 0
        if not isinstance(process, Gaussian):
            return noisy
        ratio = process.ratio(t)
        return noisy & (low <= ratio) & (ratio <= high)

    def denoise(x: Array, t: Array) -> Array:
        t, weight = canonical(t, x), canonical(scale, x)
        chosen = guided(t) & (weight != 1)
        best = shaped(f"{name}: the strong denoiser's output", strong(x, t), x.shape)

        def extrapolated() -> Array:
            other = shaped(f"{name}: the weak denoiser's output", weak(x, t), x.shape)
            return _extrapolate(process, best, other, expand(weight, x)).astype(best.dtype)

        beyond = jax.lax.cond(chosen.any(), extrapolated, lambda: best)
        return jnp.where(expand(chosen, x), beyond, best)

    return denoise


def _extrapolate(process: Any, strong: Array, weak: Array, weight: Array) -> Array:
    match jax.eval_shape(lambda: process.prior(strong.shape)):
        case Bernoulli():
            ahead, behind = (safe_log(p) - safe_log(1 - p) for p in (strong, weak))
            return jax.nn.sigmoid(behind + weight * (ahead - behind))
        case Categorical():
            ahead, behind = safe_log(strong), safe_log(weak)
            return jax.nn.softmax(behind + weight * (ahead - behind), axis=-1)
    return weak + weight * (strong - weak)
