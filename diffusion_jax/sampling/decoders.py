r"""Decoders: the last step t_1 -> 0 of a bound, where p(x0 | x_1) meets the data's own resolution.

`times` is the grid of the bound and t_1 = times[-2]. Three choices:

`fixed_kernel`          p(x0 | x_1) = T(x0 | x_1; beta_1), the forward kernel with x0 and x_1 exchanged, no
                        network. Sohl-Dickstein et al. (arXiv 1503.03585), appendix B.2; a density for
                        continuous data.
`discretised_gaussian`  the mass that N(x0_hat, variance) gives the bin of a grey value; bins are
                        2/(levels - 1) wide, the outer two open. DDPM (arXiv 2006.11239), equation 13.
`reverse_kernel`        for bits and categories: the reverse step to level 0 at the denoiser's probabilities,
                        as in D3PM (arXiv 2107.03006), equation 1; what absorbing processes need.
`softmax`               a categorical law over all grey values with logits -(x_1/alpha_1 - x_v)^2 / (2 r_1^2),
                        r_1 = sigma_1/alpha_1, no network. VDM (arXiv 2107.00630).

Grey values lie at x_v = 2 v/(levels - 1) - 1, v = 0 .. levels - 1. All values are in nats, summed over the
features of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.laws import LOG_2PI, Bernoulli, Categorical
from diffusion_jax.levels import normal, token_sum
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.processes.variances import large
from diffusion_jax.sampling.ode import require_gaussian
from diffusion_jax.types import Array, Decoder, Draw, Key


def fixed_kernel(
    process: Any,
    times: Array,
    factor: Callable[[Any, Array, Array], Any] | None = None,
    draw: Draw = normal,
) -> Decoder:
    """The forward kernel of the first step used backwards, for every process; `expected` is in closed form.

    In an absorbing categorical process it returns masks for masks, so that data without masks have
    log-probability near -inf; that family needs `reverse_kernel`.

    Args:
        process: any process.
        times: [S+1], the grid of the bound.
        factor: (law, t, s) -> law, a perturbation of the kernel as in `ancestral`; then there is no
            `expected`.
        draw: (key, x) -> standard normal noise like x.
    """
    t_1 = _first_level(times)

    def kernel(x_1: Array) -> Any:
        law = process.marginal(x_1, t_1)
        return law if factor is None else factor(law, t_1, jnp.zeros_like(t_1))

    def log_prob(x0: Array, x_1: Array, x0_hat: Array | None = None) -> Array:
        return token_sum(kernel(x_1).log_prob(x0))

    def sample(key: Key, x_1: Array, x0_hat: Array | None = None) -> Array:
        return kernel(x_1).sample(key, draw)

    def expected(x0: Array) -> Array:
        law = process.marginal(x0, t_1)
        if isinstance(law, Bernoulli):
            ones, zeros = jnp.ones_like(x0), jnp.zeros_like(x0)
            on, off = kernel(ones).log_prob(x0), kernel(zeros).log_prob(x0)
            return token_sum(law.mean * on + (1 - law.mean) * off)
        if isinstance(law, Categorical):
            categories = jnp.eye(x0.shape[-1], dtype=x0.dtype)
            chances = jnp.moveaxis(law.mean, -1, 0)
            each = jax.lax.map(lambda one: kernel(jnp.broadcast_to(one, x0.shape)).log_prob(x0), categories)
            return token_sum((chances * each).sum(0))
        # x0 - alpha x_1 has mean (1 - alpha^2) x0 and variance (alpha sigma)^2
        alpha, sigma = process.alpha(t_1), process.sigma(t_1)
        square = ((1 - alpha) * (1 + alpha) * x0 / sigma) ** 2 + alpha**2
        return token_sum(-0.5 * square - jnp.log(sigma) - 0.5 * LOG_2PI)

    return Decoder(log_prob, sample, expected if factor is None else None)


def reverse_kernel(process: Any, times: Array, draw: Draw = normal) -> Decoder:
    """p(x0 | x_1): the reverse step from t_1 to 0 at the denoiser's probabilities. Bits and categories.

    Args:
        process: binomial or categorical.
        times: [S+1], the grid of the bound.
        draw: (key, x) -> standard normal noise like x.

    Raises TypeError for a Gaussian process, whose reverse step to level 0 is a point.
    """
    if isinstance(process, Gaussian):
        raise TypeError(
            f"reverse_kernel is for bits and categories; for {process!r} there are fixed_kernel, "
            "discretised_gaussian and softmax"
        )
    t_1 = _first_level(times)

    def kernel(x_1: Array, x0_hat: Array | None) -> Any:
        if x0_hat is None:
            raise ValueError("reverse_kernel decodes with the denoiser's probabilities: x0_hat is None")
        return process.reverse(x_1, x0_hat, t_1, jnp.zeros_like(t_1))

    def log_prob(x0: Array, x_1: Array, x0_hat: Array | None) -> Array:
        return token_sum(kernel(x_1, x0_hat).log_prob(x0))

    def sample(key: Key, x_1: Array, x0_hat: Array | None) -> Array:
        return kernel(x_1, x0_hat).sample(key, draw)

    return Decoder(log_prob, sample, learned=True)


def discretised_gaussian(
    process: Gaussian,
    times: Array,
    levels: int,
    variance: Callable[[Array, Array, Array], Array] | None = None,
) -> Decoder:
    """The mass of N(x0_hat, variance) in the bin of each grey value.

    `sample` does not draw: like DDPM it shows the mean, put on the nearest grey value.

    Args:
        process: a Gaussian process.
        times: [S+1], the grid of the bound.
        levels: the number of grey values of the data, at least 2.
        variance: (x_1, t_1, 0) -> variance, as `Bound.variance`; None is the large one, sigma_1^2
            (DDPM's beta_1).

    Raises TypeError where the process is not Gaussian, ValueError for fewer than 2 levels.
    """
    require_gaussian(process, "discretised_gaussian")
    _check_levels(levels)
    t_1, half = _first_level(times), 1 / (levels - 1)
    chosen = variance or large(process)

    def log_prob(x0: Array, x_1: Array, x0_hat: Array | None) -> Array:
        x0_hat = _given(x0_hat)
        std = jnp.sqrt(chosen(x_1, t_1, jnp.zeros_like(t_1)))
        low, high = (x0 - half - x0_hat) / std, (x0 + half - x0_hat) / std
        inside = _log_mass(low, high)
        below, above = jax.scipy.special.log_ndtr(high), jax.scipy.special.log_ndtr(-low)
        mass = jnp.where(x0 < -1 + half, below, jnp.where(x0 > 1 - half, above, inside))
        return token_sum(mass)

    def sample(key: Key, x_1: Array, x0_hat: Array | None) -> Array:
        return _grey(_nearest(_given(x0_hat), levels), levels)

    return Decoder(log_prob, sample, learned=True, discrete=True)


def softmax(process: Gaussian, times: Array, levels: int, draw: Draw = normal) -> Decoder:
    """The posterior over grey values that x_1 alone gives, pixel by pixel, under equal odds beforehand.

    Memory is a few arrays of the size of x, whatever `levels` is.

    Args:
        process: a Gaussian process, alpha(t_1) > 0.
        times: [S+1], the grid of the bound.
        levels: the number of grey values of the data, at least 2.
        draw: (key, x) -> standard normal noise like x, pushed through the law's distribution function.

    Raises TypeError where the process is not Gaussian, ValueError for fewer than 2 levels.
    """
    require_gaussian(process, "softmax")
    _check_levels(levels)
    t_1 = _first_level(times)

    def relative_to_nearest(x_1: Array) -> tuple[Callable[[Array], Array], Array]:
        """Logits less the largest of them, as a function of x_v; and the sum of their exponentials."""
        z = x_1 / process.alpha(t_1)
        precision = 0.5 / process.ratio(t_1) ** 2
        nearest = _grey(_nearest(z, levels), levels)

        def logit(value: Array) -> Array:
            return (value - nearest) * (2 * z - nearest - value) * precision

        @jax.checkpoint
        def add(total: Array, v: Array) -> tuple[Array, None]:
            return total + jnp.exp(logit(_grey(v, levels))), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(z), jnp.arange(levels), unroll=min(levels, 8))
        return logit, total

    def log_prob(x0: Array, x_1: Array, x0_hat: Array | None = None) -> Array:
        logit, total = relative_to_nearest(x_1)
        return token_sum(logit(x0) - jnp.log(total))

    def sample(key: Key, x_1: Array, x0_hat: Array | None = None) -> Array:
        logit, total = relative_to_nearest(x_1)
        wanted = jax.scipy.special.ndtr(draw(key, x_1)) * total

        def pass_by(carry: tuple[Array, Array], v: Array) -> tuple[tuple[Array, Array], None]:
            sofar, index = carry
            sofar = sofar + jnp.exp(logit(_grey(v, levels)))
            return (sofar, index + (sofar < wanted)), None

        start = (jnp.zeros_like(total), jnp.zeros_like(total))
        (_, index), _ = jax.lax.scan(pass_by, start, jnp.arange(levels), unroll=min(levels, 8))
        return _grey(jnp.minimum(index, levels - 1), levels)

    return Decoder(log_prob, sample, discrete=True)


def _log_mass(low: Array, high: Array) -> Array:
    """log(Phi(high) - Phi(low)), low < high, without cancellation in either tail."""
    right = low + high > 0
    low, high = jnp.where(right, -high, low), jnp.where(right, -low, high)
    upper = jax.scipy.special.log_ndtr(high)
    gap = jnp.minimum(jax.scipy.special.log_ndtr(low) - upper, -jnp.finfo(low.dtype).eps)
    return upper + jnp.log(-jnp.expm1(gap))


def _grey(v: Array, levels: int) -> Array:
    return 2 * v / (levels - 1) - 1


def _nearest(x: Array, levels: int) -> Array:
    return jnp.clip(jnp.round((x + 1) * (0.5 * (levels - 1))), 0, levels - 1)


def _given(x0_hat: Array | None) -> Array:
    if x0_hat is None:
        raise ValueError("discretised_gaussian is learned: it needs the denoiser's x0_hat at (x_1, t_1)")
    return x0_hat


def _first_level(times: Array) -> Array:
    times = jnp.asarray(times)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be [S+1] with S >= 1, got shape {times.shape}")
    return times[-2]


def _check_levels(levels: int) -> None:
    if levels < 2:
        raise ValueError(f"levels, the number of grey values, must be at least 2; got {levels}")


EXAMPLES: dict[str, dict[str, Any]] = {
    "reverse_kernel": {"process": "binomial", "times": [1.0, 0.5, 0.01, 0.0]},
    "fixed_kernel": {"process": "vp_cosine", "times": [1.0, 0.5, 0.01, 0.0]},
    "discretised_gaussian": {"process": "vp_cosine", "times": [1.0, 0.5, 0.01, 0.0], "levels": 17},
    "softmax": {"process": "vp_cosine", "times": [1.0, 0.5, 0.01, 0.0], "levels": 17},
}
