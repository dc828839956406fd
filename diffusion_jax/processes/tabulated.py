"""Variance-preserving processes that are given at the steps t = k/T of a discrete chain."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffusion_jax.processes.gaussian import Gaussian, capped, root_sigmoid, safe_sqrt
from diffusion_jax.types import Array


class Tabulated(Gaussian):
    """A process given by the log of ratio^2 at t = k/T, k = 1..T: linear in t between them, and with ratio^2
    linear in t below 1/T. Variance preserving: alpha^2 + sigma^2 = 1. Subclasses give `table`, [T]."""

    @property
    def table(self) -> Any:
        """log(sigma^2/alpha^2) at t = 1/T .. 1, rising: [T]."""
        raise NotImplementedError

    def log_ratio(self, t: Array) -> Array:
        """log(sigma^2/alpha^2), -inf at t = 0; shaped like t."""
        table = jnp.asarray(self.table, dtype=_precision(t))
        steps = table.shape[0]
        position = t * steps
        # the steps are even: no search for the place, as interpolation would make
        before = jnp.clip(jnp.floor(position), 1, max(steps - 1, 1))
        low, high = (table[jnp.minimum(before.astype(jnp.int32) + i, steps) - 1] for i in (0, 1))
        inside = low + (position - before) * (high - low)
        positive = position > 0
        below = jnp.where(positive, jnp.log(jnp.where(positive, position, 1.0)), -jnp.inf) + table[0]
        return jnp.where(position < 1, below, inside)

    def alpha(self, t: Array) -> Array:
        gamma = self.log_ratio(t)
        finite = jnp.isfinite(gamma)
        return jnp.where(finite, root_sigmoid(-jnp.where(finite, gamma, 0.0)), 1.0)

    def sigma(self, t: Array) -> Array:
        gamma = self.log_ratio(t)
        finite = jnp.isfinite(gamma)
        return jnp.where(finite, root_sigmoid(jnp.where(finite, gamma, 0.0)), 0.0)

    def time(self, ratio: Array) -> Array:
        table = jnp.asarray(self.table, dtype=_precision(ratio))
        steps = table.shape[0]
        first = ratio**2 / jnp.exp(table[0])
        gamma = 2 * jnp.log(jnp.maximum(ratio, jnp.exp(table[0] / 2)))
        inside = jnp.interp(gamma, table, jnp.arange(1, steps + 1, dtype=table.dtype))
        return jnp.where(first < 1, first, inside) / steps


def _precision(x: Array) -> Any:
    """x's dtype, at least float32; promoting x itself would take a weakly typed double for a single."""
    return jnp.promote_types(jnp.asarray(x).dtype, jnp.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class FromBetas(Tabulated):
    """The discrete chain of fixed betas, [T]: alpha^2 at k/T is the product of (1 - beta_j), j <= k."""

    betas: np.ndarray

    @property
    def table(self) -> np.ndarray:
        log_alpha_bar = np.cumsum(np.log1p(-self.betas))
        return np.log(-np.expm1(log_alpha_bar)) - log_alpha_bar


def from_betas(betas: np.ndarray) -> Gaussian:
    """The process whose alpha^2 at k/T is the product of (1 - beta_j), j <= k, with beta <= 0.999."""
    return FromBetas(np.minimum(betas, 0.999))


@dataclasses.dataclass(frozen=True)
class FirstStep(Gaussian):
    """beta_1, then beta_k = 1/(T - k + 1): alpha^2 = (1 - beta_1)(1 - t)/(1 - 1/T) for t >= 1/T."""

    beta_1: float
    steps: int

    def _variance(self, t: Array) -> Array:
        """sigma^2: linear from 0 to beta_1 on [0, 1/T], linear from there to 1."""
        first = 1 / self.steps
        later = self.beta_1 + (1 - self.beta_1) * (t - first) / (1 - first)
        return jnp.where(t < first, self.beta_1 * t / first, later)

    def alpha(self, t: Array) -> Array:
        first = 1 / self.steps
        later = (1 - self.beta_1) * (1 - t) / (1 - first)
        return safe_sqrt(jnp.where(t < first, 1 - self.beta_1 * t / first, later))

    def sigma(self, t: Array) -> Array:
        return safe_sqrt(self._variance(t))

    def time(self, ratio: Array) -> Array:
        ratio = capped(ratio)
        variance = ratio**2 / (1 + ratio**2)
        first = 1 / self.steps
        later = first + (variance - self.beta_1) / (1 - self.beta_1) * (1 - first)
        return jnp.where(variance < self.beta_1, variance / self.beta_1 * first, later)
