"""Gaussian processes: q(x_t | x_0) = N(alpha(t) x_0, sigma(t)^2 I).

With ratio(t) = sigma(t)/alpha(t) and, for s <= t, q = ratio(s)/ratio(t) (so that q^2 = SNR_t/SNR_s):

    q(x_s | x_t, x_0) = N( q sigma_s/sigma_t x_t + alpha_s (1 - q^2) x_0,   sigma_s^2 (1 - q^2) )
    q(x_t | x_s)      = N( alpha_t/alpha_s x_s,                             sigma_t^2 (1 - q^2) )

The two variances are DDPM's beta-tilde and beta (arXiv 2006.11239, eq. 7): the smallest and, for data of
unit variance, the largest that a reverse step can need (Sohl-Dickstein et al., arXiv 1503.03585, eq. 24).

The schedules themselves are in `schedules`, `tabulated` and `learned`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.laws import Normal
from diffusion_jax.levels import expand
from diffusion_jax.types import Array


@contextmanager
def at_once() -> Iterator[None]:
    """What is computed within is computed now, even inside a trace: to check what does not depend on it."""
    with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
        yield


def safe_sqrt(x: Array) -> Array:
    """sqrt(x), with derivative 0 instead of infinity at x = 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def quotient(numerator: Any, denominator: Array, otherwise: float) -> Array:
    """numerator/denominator, and `otherwise` where the denominator is 0; finite derivatives throughout."""
    regular = denominator != 0
    return jnp.where(regular, numerator / jnp.where(regular, denominator, 1.0), otherwise)


def _share(alpha_t: Array, sigma_t: Array, alpha_s: Array, sigma_s: Array) -> tuple[Array, Array]:
    """See `Gaussian.share`."""
    q = quotient(alpha_t * sigma_s, alpha_s * sigma_t, 1.0)
    return q, (1 - q) * (1 + q)


def capped(ratio: Array) -> Array:
    """The ratio, cut past the end of every schedule where its square is still finite in float32."""
    return jnp.minimum(ratio, 1e15)


class Gaussian:
    """What all Gaussian processes share. Subclasses give `alpha`, `sigma`, `time`; levels have any shape."""

    def alpha(self, t: Array) -> Array:
        """Signal scale at level t, shaped like t."""
        raise NotImplementedError

    def sigma(self, t: Array) -> Array:
        """Noise scale (standard deviation) at level t, shaped like t."""
        raise NotImplementedError

    def time(self, ratio: Array) -> Array:
        """The level at which sigma/alpha is `ratio`, clipped to [0, 1]; shaped like ratio."""
        raise NotImplementedError

    def ratio(self, t: Array) -> Array:
        """sigma/alpha at level t; infinite where alpha is 0."""
        return quotient(self.sigma(t), self.alpha(t), jnp.inf)

    def log_snr(self, t: Array) -> Array:
        """log(alpha^2/sigma^2) at level t; infinite at the ends where one of them is 0."""
        return -2 * jnp.log(self.ratio(t))

    def share(self, t: Array, s: Array) -> tuple[Array, Array]:
        """(q, 1 - q^2) with q = ratio(s)/ratio(t), s <= t; q = 1 where nothing moves. Shaped like t and s."""
        return _share(self.alpha(t), self.sigma(t), self.alpha(s), self.sigma(s))

    def prior(self, shape: tuple[int, ...]) -> Normal:
        """N(0, sigma(1)^2), the law that sampling starts from; a sample has `shape`."""
        return Normal(jnp.zeros(shape), self.sigma(jnp.ones((1,) * len(shape))))

    def marginal(self, x0: Array, t: Any) -> Normal:
        """q(x_t | x_0). x0: [B, ...]; t: a prefix shape of it."""
        t = expand(t, x0)
        return Normal(self.alpha(t) * x0, self.sigma(t))

    def transition(self, x_s: Array, s: Any, t: Any) -> Normal:
        """q(x_t | x_s) for s <= t, levels of a prefix shape of x_s: further along the forward process."""
        s, t = expand(s, x_s), expand(t, x_s)
        kept = quotient(self.alpha(t), self.alpha(s), 1.0)
        return Normal(kept * x_s, self.sigma(t) * safe_sqrt(self.share(t, s)[1]))

    def posterior(self, x_t: Array, x0: Array, t: Any, s: Any) -> Normal:
        """q(x_s | x_t, x_0) for s <= t, levels of a prefix shape of x_t. DDPM eq. 6-7."""
        t, s = expand(t, x_t), expand(s, x_t)
        alpha_t, sigma_t, alpha_s, sigma_s = self.alpha(t), self.sigma(t), self.alpha(s), self.sigma(s)
        q, moved = _share(alpha_t, sigma_t, alpha_s, sigma_s)
        mean = q * quotient(sigma_s, sigma_t, 1.0) * x_t + alpha_s * moved * x0
        return Normal(mean, sigma_s * safe_sqrt(moved))

    def reverse(self, x_t: Array, x0_hat: Array, t: Any, s: Any, variance: Array | None = None) -> Normal:
        """p(x_s | x_t): the posterior at x0_hat; `variance`, broadcastable to x_t, replaces its variance."""
        law = self.posterior(x_t, x0_hat, t, s)
        return law if variance is None else Normal(law.mean, safe_sqrt(variance))


def root_sigmoid(x: Array) -> Array:
    """sqrt(1/(1 + e^-x))."""
    return jnp.exp(-0.5 * jnp.logaddexp(-x, 0.0))
