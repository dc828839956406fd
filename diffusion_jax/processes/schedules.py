"""Gaussian schedules by name: variance preserving, exploding, straight.

Written with expm1, log1p and arctan, so that float32 agrees with float64 to 1e-5 for ratios sigma/alpha
from 0.002 to 80. `time(ratio)` inverts `ratio(t)` and is clipped to [0, 1].
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.processes.gaussian import Gaussian, capped, quotient, safe_sqrt
from diffusion_jax.processes.tabulated import FirstStep, from_betas
from diffusion_jax.types import Array


@dataclasses.dataclass(frozen=True)
class _LinearVP(Gaussian):
    beta_min: float
    beta_max: float

    def _integral(self, t: Array) -> Array:
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)

    def alpha(self, t: Array) -> Array:
        return jnp.exp(-0.5 * self._integral(t))

    def sigma(self, t: Array) -> Array:
        return safe_sqrt(-jnp.expm1(-self._integral(t)))

    def time(self, ratio: Array) -> Array:
        ratio = capped(ratio)
        integral = jnp.log1p(ratio**2)
        slope = self.beta_max - self.beta_min
        root = jnp.sqrt(self.beta_min**2 + 2 * slope * integral)
        return jnp.clip(2 * integral / (root + self.beta_min), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _Cosine(Gaussian):
    """alpha = cos(b)/cos(a), sigma^2 = sin(u t) sin(b + a)/cos(a)^2, a = u s, b = a + u t, u = pi/2/(1+s)."""

    s: float

    @property
    def _unit(self) -> float:
        return 0.5 * math.pi / (1 + self.s)

    def alpha(self, t: Array) -> Array:
        # exactly 1 where clean: sin and cos round differently
        return jnp.where(t > 0, jnp.sin(self._unit * (1 - t)) / math.cos(self._unit * self.s), 1.0)

    def sigma(self, t: Array) -> Array:
        a, step = self._unit * self.s, self._unit * t
        return safe_sqrt(jnp.sin(step) * jnp.sin(step + 2 * a)) / math.cos(a)

    def time(self, ratio: Array) -> Array:
        ratio = capped(ratio)
        sin_a, cos_a = math.sin(self._unit * self.s), math.cos(self._unit * self.s)
        root = jnp.sqrt(ratio**2 + sin_a**2)
        difference = ratio**2 / (root + sin_a) / cos_a
        angle = jnp.arctan2(difference, 1 + root / cos_a * (sin_a / cos_a))
        return jnp.clip(angle / self._unit, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _Sigmoid(Gaussian):
    """sigma^2 = (S(v) - S(start))/(S(end) - S(start)), S logistic, v = start + (end - start) t."""

    start: float
    end: float

    @staticmethod
    def _gap(a: Any, b: Any) -> Array:
        """S(a) - S(b) without cancellation."""
        return jnp.sinh((a - b) / 2) / (2 * jnp.cosh(a / 2) * jnp.cosh(b / 2))

    def _value(self, t: Array) -> Array:
        return self.start + (self.end - self.start) * t

    def alpha(self, t: Array) -> Array:
        span = self._gap(self.end, self.start)
        gap = jnp.sinh((self.end - self.start) * (1 - t) / 2)
        return safe_sqrt(gap / (2 * math.cosh(self.end / 2) * jnp.cosh(self._value(t) / 2)) / span)

    def sigma(self, t: Array) -> Array:
        span = self._gap(self.end, self.start)
        gap = jnp.sinh((self.end - self.start) * t / 2)
        return safe_sqrt(gap / (2 * math.cosh(self.start / 2) * jnp.cosh(self._value(t) / 2)) / span)

    def time(self, ratio: Array) -> Array:
        ratio = capped(ratio)
        p = 1 / (1 + math.exp(-self.start))
        step = ratio**2 / (1 + ratio**2) * self._gap(self.end, self.start)
        climb = jnp.log1p(step / p) - jnp.log1p(-step / (1 - p))
        return jnp.clip(climb / (self.end - self.start), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _Root(Gaussian):
    """alpha^2 = 1 - t."""

    def alpha(self, t: Array) -> Array:
        return safe_sqrt(1 - t)

    def sigma(self, t: Array) -> Array:
        return safe_sqrt(t)

    def time(self, ratio: Array) -> Array:
        return 1 / (1 + quotient(1.0, ratio**2, jnp.inf))


@dataclasses.dataclass(frozen=True)
class _Exploding(Gaussian):
    """alpha = 1, sigma = sigma_max t^power."""

    sigma_max: float
    power: float

    def alpha(self, t: Array) -> Array:
        return jnp.ones_like(t)

    def sigma(self, t: Array) -> Array:
        return self.sigma_max * (t if self.power == 1 else safe_sqrt(t))

    def time(self, ratio: Array) -> Array:
        return jnp.clip((ratio / self.sigma_max) ** (1 / self.power), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _Flow(Gaussian):
    def alpha(self, t: Array) -> Array:
        return 1 - t

    def sigma(self, t: Array) -> Array:
        return jnp.asarray(t)

    def time(self, ratio: Array) -> Array:
        return 1 / (1 + quotient(1.0, ratio, jnp.inf))


def _check_steps(steps: int | None) -> None:
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


def vp_linear(beta_min: float = 0.1, beta_max: float = 20.0, steps: int | None = None) -> Gaussian:
    """alpha^2 = exp(-integral of beta), beta rising linearly from beta_min to beta_max.

    Song et al. (arXiv 2011.13456), eq. 32. With `steps` = T, DDPM's discrete chain: beta_k from beta_min/T to
    beta_max/T (1e-4 to 0.02 at T = 1000). Raises ValueError for betas that are not 0 < beta_min <= beta_max.
    """
    _check_steps(steps)
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"betas must satisfy 0 < beta_min <= beta_max, got {beta_min} and {beta_max}")
    if steps is None:
        return _LinearVP(beta_min, beta_max)
    return from_betas(np.linspace(beta_min, beta_max, steps) / steps)


def vp_cosine(s: float = 0.008, steps: int | None = None) -> Gaussian:
    """alpha = cos(pi/2 (t + s)/(1 + s)) / cos(pi/2 s/(1 + s)); alpha(1) = 0.

    Nichol and Dhariwal (arXiv 2102.09672), eq. 17. With `steps` = T, the discrete chain with beta <= 0.999.
    """
    _check_steps(steps)
    if s < 0:
        raise ValueError(f"s must not be negative, got {s}")
    if steps is None:
        return _Cosine(s)
    angles = 0.5 * np.pi * (np.arange(steps + 1) / steps + s) / (1 + s)
    alpha_bar = np.cos(angles) ** 2
    return from_betas(1 - alpha_bar[1:] / alpha_bar[:-1])


def vp_sigmoid(start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Gaussian:
    """sigma^2 follows a logistic curve from `start`/tau to `end`/tau, scaled to [0, 1].

    Jabri et al. (arXiv 2212.11972); Chen (arXiv 2301.10972), algorithm 1.
    """
    if not (start < end and tau > 0):
        raise ValueError(f"need start < end and tau > 0, got start={start}, end={end}, tau={tau}")
    return _Sigmoid(start / tau, end / tau)


def vp_2015(beta_1: float | None = None, steps: int | None = None) -> Gaussian:
    """alpha^2 = 1 - t: the limit of beta_k = 1/(T - k + 1), for which alpha_bar_k = 1 - k/T at any T.

    Sohl-Dickstein et al. (arXiv 1503.03585), section 2.4.1; T is only the grid. With `beta_1` the first step
    of a grid of `steps` steps gets this variance and the other betas stay: the paper keeps beta_1 a small
    constant. The derivatives at t = 1 are infinite, so that ODE samplers in t need another process; ddim and
    ancestral do not.
    """
    _check_steps(steps)
    if (beta_1 is None) != (steps is None):
        raise ValueError(
            "beta_1 and steps are given together: beta_1 is the variance of the first of `steps`"
        )
    if beta_1 is None or steps is None:
        return _Root()
    if not 0 < beta_1 < 1 or steps < 2:
        raise ValueError(f"need 0 < beta_1 < 1 and steps >= 2, got beta_1={beta_1}, steps={steps}")
    return FirstStep(beta_1, steps)


def vp_polynomial(power: float = 2.0, precision: float = 1e-5, steps: int = 1000) -> Gaussian:
    """alpha^2 = (1 - 2 precision) (1 - t^power)^2 + precision at the steps t = k/T of a discrete chain.

    EDM for molecules (Hoogeboom et al., arXiv 2203.17003), appendix B, the precision in alpha^2 as in its
    code; GaUDI's generator of polybenzenoids has the default arguments. Below 1/T the ratio falls to 0, where
    these end at sigma^2 = precision. Raises ValueError unless power > 0 and 0 < precision < 1/2.
    """
    _check_steps(steps)
    if not (power > 0 and 0 < precision < 0.5):
        raise ValueError(f"need power > 0 and 0 < precision < 1/2, got {power} and {precision}")
    alpha_bar = (1 - 2 * precision) * (1 - (np.arange(steps + 1) / steps) ** power) ** 2 + precision
    alpha_bar[0] = 1.0
    return from_betas(1 - alpha_bar[1:] / alpha_bar[:-1])


def edm(sigma_max: float = 80.0) -> Gaussian:
    """alpha = 1, sigma = sigma_max t. Karras et al. (arXiv 2206.00364): sigma is the time."""
    return _exploding(sigma_max, 1.0)


def ve(sigma_max: float = 100.0) -> Gaussian:
    """alpha = 1, sigma = sigma_max sqrt(t): Brownian motion. Karras et al. (arXiv 2206.00364), VE."""
    return _exploding(sigma_max, 0.5)


def _exploding(sigma_max: float, power: float) -> Gaussian:
    if sigma_max <= 0:
        raise ValueError(f"sigma_max must be positive, got {sigma_max}")
    return _Exploding(sigma_max, power)


def flow() -> Gaussian:
    """alpha = 1 - t, sigma = t: the straight paths of flow matching (arXiv 2210.02747, 2209.03003)."""
    return _Flow()


EXAMPLES: dict[str, dict[str, Any]] = {
    "vp_linear": {},
    "vp_cosine": {},
    "vp_sigmoid": {},
    "vp_2015": {},
    "vp_polynomial": {},
    "ve": {},
    "edm": {},
    "flow": {},
}
