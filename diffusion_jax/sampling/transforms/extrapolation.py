r"""Guidance by extrapolation: away from a weak denoiser, through a strong one and beyond.

    D = D_weak + w (D_strong - D_weak)

w = 1 is the strong denoiser alone, w = 0 the weak one. This is the convention of EDM2 and of the interval's
paper; Ho and Salimans write w - 1 for it.

`cfg`           strong is conditional, weak is not: "Classifier-free diffusion guidance" (arXiv 2207.12598).
                With exact denoisers D is the score of p(x_t) p(y | x_t)^w, level by level, which for w != 1
                is no noised distribution: a chain through these scores samples no law in closed form.
`autoguidance`  weak is a smaller or less trained version of strong, both with the same condition: "Guiding a
                diffusion model with a bad version of itself" (arXiv 2406.02507).

`mixed`         strong is left in several directions at once, with g = w - 1 for each weak denoiser D_j:

    D = D_strong + sum_j g_j (D_strong - D_j)

                so that g = 0 is the strong denoiser alone. With one weak denoiser whose latents are null it
                is the guidance of DisCo-Diff (arXiv 2407.03300, appendix B, whose w = 1 is g = 1 in its
                table 3); beside it, one without the class.

Interval (arXiv 2404.07724): only tokens with low <= sigma/alpha <= high are guided, all others see the strong
denoiser alone. Where no token is guided the weak denoiser is not evaluated.

Bits and categories: probabilities are extrapolated in log-odds and in log-probabilities, so that they stay
probabilities:

    logit D = logit D_weak + w (logit D_strong - logit D_weak)
    D       = softmax(log D_weak + w (log D_strong - log D_weak))
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

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


class Guide(NamedTuple):
    """One direction of `mixed`.

    weak:      the denoiser to go away from
    excess:    g >= 0, of shape (), [B] or [B, T]; 0 for no guidance
    low, high: the interval of sigma/alpha that is guided (Gaussian processes)
    """

    weak: Denoiser
    excess: Array | float
    low: float = 0.0
    high: float = math.inf


def mixed(process: Any, denoiser: Denoiser, *guides: Guide) -> Denoiser:
    """Guidance away from several weak denoisers; arguments as of `cfg`, raises the same."""
    require_callable("mixed", denoiser=denoiser)
    for guide in guides:
        require_callable("mixed", weak=guide.weak)
        require_scale("mixed", guide.excess)
        _check_interval("mixed", process, guide.low, guide.high)

    def denoise(x: Array, t: Array) -> Array:
        t = canonical(t, x)
        best = shaped("mixed: the denoiser's output", denoiser(x, t), x.shape)
        natural, back = _natural(process, best.shape)
        ahead = natural(best)

        def away(guide: Guide) -> tuple[Array, Array]:
            """Which tokens are guided, and by how much."""
            excess = canonical(guide.excess, x)
            chosen = _inside(process, t, guide.low, guide.high) & (excess != 0)

            def beyond() -> Array:
                other = shaped("mixed: a weak denoiser's output", guide.weak(x, t), x.shape)
                return (expand(jnp.where(chosen, excess, 0.0), x) * (ahead - natural(other))).astype(
                    ahead.dtype
                )

            return chosen, jax.lax.cond(chosen.any(), beyond, lambda: jnp.zeros_like(ahead))

        moves = [away(guide) for guide in guides]
        total = back(sum((move for _, move in moves), ahead)).astype(best.dtype)
        touched = functools.reduce(jnp.logical_or, (chosen for chosen, _ in moves), jnp.zeros((1, 1), bool))
        return jnp.where(expand(touched, x), total, best)

    return denoise


def _check_interval(name: str, process: Any, low: float, high: float) -> None:
    if not 0 <= low <= high:
        raise ValueError(f"{name}: the interval of sigma/alpha needs 0 <= low <= high, got [{low}, {high}]")
    if not isinstance(process, Gaussian) and (low > 0 or high < math.inf):
        raise ValueError(f"{name}: an interval is of sigma/alpha, which {process!r} does not have")


def _inside(process: Any, t: Array, low: float, high: float) -> Array:
    """Which tokens are noisy, and in the interval; t and the result are [#B, #T]."""
    noisy = t > 0
    if not isinstance(process, Gaussian):
        return noisy
    ratio = process.ratio(t)
    return noisy & (low <= ratio) & (ratio <= high)


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
    _check_interval(name, process, low, high)

    def denoise(x: Array, t: Array) -> Array:
        t, weight = canonical(t, x), canonical(scale, x)
        chosen = _inside(process, t, low, high) & (weight != 1)
        best = shaped(f"{name}: the strong denoiser's output", strong(x, t), x.shape)

        def extrapolated() -> Array:
            other = shaped(f"{name}: the weak denoiser's output", weak(x, t), x.shape)
            return _extrapolate(process, best, other, expand(weight, x)).astype(best.dtype)

        beyond = jax.lax.cond(chosen.any(), extrapolated, lambda: best)
        return jnp.where(expand(chosen, x), beyond, best)

    return denoise


def _extrapolate(process: Any, strong: Array, weak: Array, weight: Array) -> Array:
    natural, back = _natural(process, strong.shape)
    ahead, behind = natural(strong), natural(weak)
    return back(behind + weight * (ahead - behind))


def _natural(process: Any, shape: tuple[int, ...]) -> tuple[Callable[[Array], Array], ...]:
    """Where denoisers are extrapolated: the map there and the map back."""
    match jax.eval_shape(lambda: process.prior(shape)):
        case Bernoulli():
            return lambda p: safe_log(p) - safe_log(1 - p), jax.nn.sigmoid
        case Categorical():
            return safe_log, lambda logits: jax.nn.softmax(logits, axis=-1)
    return lambda x: x, lambda x: x
